//! FETCH_UPDATE.

use crate::value::Priority;

message! {
    /// Changes the priority of a fetch.
    ///
    /// Spec: transfork-03 "FETCH_UPDATE".
    pub struct FetchUpdate in Transfork needs Fetch {
        /// Higher is sent first under congestion.
        priority: Priority [plain],
    }
}
