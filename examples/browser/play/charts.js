/** Small plots of how a figure went over the last minute. */

/** Points that are kept: a minute of four a second. */
const MOST = 240;

/** A line, or bars where each point is a number of events, on a canvas as large as the page makes it. */
export class Chart {
  #points = [];
  constructor(canvas, { bars = false, floor = 1 } = {}) {
    Object.assign(this, { canvas, bars, floor });
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** The next point; `undefined` where there is none. */
  add(value) {
    this.#points.push(value);
    if (this.#points.length > MOST) this.#points.shift();
    this.#draw();
  }

  clear() {
    this.#points = [];
    this.#draw();
  }

  #draw() {
    const { canvas } = this;
    const scale = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    Object.assign(canvas, { width: width * scale, height: height * scale });
    const context = canvas.getContext("2d");
    const { color } = getComputedStyle(canvas);
    context.scale(scale, scale);
    Object.assign(context, { strokeStyle: color, fillStyle: color, lineWidth: 1.75, lineJoin: "round" });
    const most = Math.max(this.floor, ...this.#points.filter((value) => value !== undefined)) * 1.1;
    const x = (at) => width - (this.#points.length - 1 - at) * width / (MOST - 1);
    const y = (value) => height - 1 - value / most * (height - 3);
    if (this.bars) {
      this.#points.forEach((value, at) => value > 0 && context.fillRect(x(at) - 2, y(value), 3, height - y(value)));
      return;
    }
    const runs = [[]];
    this.#points.forEach((value, at) => {
      if (value === undefined) runs.push([]);
      else runs.at(-1).push([x(at), y(value)]);
    });
    for (const run of runs.filter(({ length }) => length > 1)) {
      const line = new Path2D();
      for (const [at, value] of run) line.lineTo(at, value);
      context.stroke(line);
      line.lineTo(run.at(-1)[0], height);
      line.lineTo(run[0][0], height);
      context.globalAlpha = 0.14;
      context.fill(line);
      context.globalAlpha = 1;
    }
  }
}
