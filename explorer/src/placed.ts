// Tokens that have a place in an image or a sound: coloured there, pointed at there.
import { ticks } from "d3-array";
import { ASIDE, background, ramp, step } from "./colours";
import { h, set } from "./dom";
import type { Media } from "./exhibit";
import type { Strip, StripEvents, StripView } from "./tokens";

const WIDEST = 480;
const WAVE_HEIGHT = 120;
const TIME_HEIGHT = 20;
const INK = { light: "#14171c", dark: "#f2f4f7" };
const MARK = { light: "#c2410c", dark: "#ffb86b" };
const HALO = { light: "#ffffff", dark: "#16181d" };

type Box = readonly [x: number, y: number, width: number, height: number];

/** Pointer, keys and marks; what lies below and how scores look on it differ. */
abstract class Placed implements Strip {
  readonly element = h("div", { class: "placed", tabindex: 0, role: "application", "aria-roledescription": this.kind() });
  protected readonly canvas = h("canvas");
  protected view: StripView | null = null;
  protected width = 0;
  protected height = 0;
  private readonly watcher = new ResizeObserver(() => this.draw());

  constructor(private readonly events: StripEvents) {
    this.element.append(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.point(this.unitUnder(event)));
    this.canvas.addEventListener("pointerleave", () => this.events.point(null));
    this.canvas.addEventListener("click", (event) => {
      const unit = this.view?.units[this.unitUnder(event)];
      if (unit) this.events.pick(unit);
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.watcher.observe(this.element);
  }

  protected abstract kind(): string;
  protected abstract size(available: number): [width: number, height: number];
  protected abstract box(place: readonly number[]): Box;
  protected abstract paint(context: CanvasRenderingContext2D, view: StripView): void;

  update(view: StripView): void {
    this.view = view;
    this.element.hidden = view.units.length === 0;
    set(this.element, "aria-label", `${view.label}. Arrow keys move, Enter pins.`);
    this.draw();
  }

  destroy(): void {
    this.watcher.disconnect();
  }

  protected draw(): void {
    if (!this.view || this.element.clientWidth === 0) return;
    const density = window.devicePixelRatio || 1;
    [this.width, this.height] = this.size(this.element.clientWidth);
    const [width, height] = [Math.round(this.width * density), Math.round(this.height * density)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      [this.canvas.width, this.canvas.height] = [width, height];
      [this.canvas.style.width, this.canvas.style.height] = [`${this.width}px`, `${this.height}px`];
    }
    const context = this.canvas.getContext("2d")!;
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.paint(context, this.view);
    this.frame(context, this.view.pointed, []);
    this.frame(context, this.view.active, this.view.pinned ? [] : [4, 3]);
  }

  private frame(context: CanvasRenderingContext2D, place: number, dashes: number[]): void {
    const unit = this.view!.units[place];
    if (!unit?.place) return;
    for (const [width, colour, dash] of [[4, HALO, []], [2, INK, dashes]] as const) {
      context.lineWidth = width;
      context.strokeStyle = colour[this.view!.theme];
      context.setLineDash([...dash]);
      context.strokeRect(...this.box(unit.place));
    }
    context.setLineDash([]);
  }

  private unitUnder(event: MouseEvent): number {
    return (this.view?.units ?? []).findIndex(({ place }) => {
      if (!place) return false;
      const [x, y, width, height] = this.box(place);
      return event.offsetX >= x && event.offsetX < x + width && event.offsetY >= y && event.offsetY < y + height;
    });
  }

  private point(place: number): void {
    const { view } = this;
    if (!view || (place >= 0 && place === (view.pinned ? view.pointed : view.active))) return;
    this.events.point(view.units[place] ?? null);
  }

  private key(event: KeyboardEvent): void {
    const { view } = this;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (!view || view.units.length === 0 || event.target !== this.element) return;
    const here = Math.max(0, view.pinned && view.pointed >= 0 ? view.pointed : view.active);
    if (event.key === "Enter" || event.key === " ") this.events.pick(view.units[here]!);
    else if (dx || dy) this.point(this.nearest(here, dx!, dy!));
    else return;
    event.preventDefault();
  }

  /** The closest unit in a direction; the same one where there is none. */
  private nearest(here: number, dx: number, dy: number): number {
    const centre = (at: number): [number, number] => {
      const [x, y, width, height] = this.box(this.view!.units[at]!.place!);
      return [x + width / 2, y + height / 2];
    };
    const [x, y] = centre(here);
    let [best, shortest] = [here, Infinity];
    this.view!.units.forEach((_, at) => {
      const [across, down] = [centre(at)[0] - x, centre(at)[1] - y];
      const ahead = across * dx + down * dy;
      const aside = Math.abs(across * dy) + Math.abs(down * dx);
      if (ahead > 0.5 && ahead + 4 * aside < shortest) [best, shortest] = [at, ahead + 4 * aside];
    });
    return best;
  }
}

/** Patches of an image: their colours cover it the more, the higher their score. */
export class ImageStrip extends Placed {
  private readonly image = new Image();

  constructor(
    events: StripEvents,
    private readonly media: Extract<Media, { kind: "image" }>,
  ) {
    super(events);
    // Only pictures that travel in the document itself: nothing is fetched.
    if (/^data:image\/(png|jpeg|webp|gif);base64,/.test(media.source)) {
      this.image.onload = () => this.draw();
      this.image.src = media.source;
    }
  }

  protected kind(): string {
    return "image";
  }

  protected size(available: number): [number, number] {
    const width = Math.min(available, WIDEST, (WIDEST * this.media.width) / this.media.height);
    return [width, (width * this.media.height) / this.media.width];
  }

  protected box(place: readonly number[]): Box {
    const [left = 0, top = 0, width = 0, height = 0] = place;
    return [left * this.width, top * this.height, width * this.width, height * this.height];
  }

  protected paint(context: CanvasRenderingContext2D, { units, scores, signed, theme, grey, cover = 0.8 }: StripView): void {
    context.filter = grey ? "grayscale(1)" : "none";
    if (this.image.complete && this.image.naturalWidth > 0) context.drawImage(this.image, 0, 0, this.width, this.height);
    context.filter = "none";
    const { hexes } = ramp(signed, "light");
    units.forEach(({ place }, at) => {
      const score = scores?.[at] ?? 0;
      if (!place || score === 0 || Number.isNaN(score)) return;
      context.globalAlpha = cover * Math.min(1, Math.abs(score)) ** 0.75;
      context.fillStyle = hexes[step(score, signed)]!;
      context.fillRect(...this.box(place));
    });
    context.globalAlpha = 1;
    context.strokeStyle = theme === "light" ? "#d5dae2" : "#343a45";
    context.strokeRect(0.5, 0.5, this.width - 1, this.height - 1);
  }
}

/** Frames of a sound: colours behind its wave, times below. */
export class SoundStrip extends Placed {
  private readonly player = h("audio", { controls: true, preload: "auto", "aria-label": "The sound" });
  private following = 0;

  constructor(
    events: StripEvents,
    private readonly media: Extract<Media, { kind: "sound" }>,
  ) {
    super(events);
    // Only what travels in the document itself: nothing is fetched.
    if (!/^data:audio\/wav;base64,/.test(media.source ?? "")) return;
    this.player.src = media.source!;
    for (const event of ["timeupdate", "seeked", "play", "pause"]) this.player.addEventListener(event, () => this.follow());
    this.element.append(this.player);
  }

  override destroy(): void {
    this.player.pause();
    cancelAnimationFrame(this.following);
    super.destroy();
  }

  /** A line runs along while the sound is heard. */
  private follow(): void {
    cancelAnimationFrame(this.following);
    this.draw();
    if (!this.player.paused) this.following = requestAnimationFrame(() => this.follow());
  }

  protected kind(): string {
    return "sound";
  }

  protected size(available: number): [number, number] {
    return [available, WAVE_HEIGHT + TIME_HEIGHT];
  }

  protected box(place: readonly number[]): Box {
    const [start = 0, end = 0] = place;
    return [this.across(start), 0, this.across(end) - this.across(start), WAVE_HEIGHT];
  }

  private across(seconds: number): number {
    return (seconds / this.media.seconds) * this.width;
  }

  protected paint(context: CanvasRenderingContext2D, { units, scores, signed, theme }: StripView): void {
    units.forEach(({ place }, at) => {
      if (!place || !scores) return;
      const score = scores[at] ?? 0;
      context.fillStyle = Number.isNaN(score) ? ASIDE[theme] : background(score, signed, theme);
      context.fillRect(...this.box(place));
    });
    this.paintWave(context, theme);
    if (this.player.currentTime > 0) this.paintNow(context, theme);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "bottom";
    for (const seconds of ticks(0, this.media.seconds, Math.max(2, this.width / 90))) {
      const x = this.across(seconds);
      context.textAlign = x < 12 ? "left" : x > this.width - 12 ? "right" : "center";
      context.fillText(`${seconds} s`, x, WAVE_HEIGHT + TIME_HEIGHT);
    }
  }

  private paintNow(context: CanvasRenderingContext2D, theme: StripView["theme"]): void {
    context.fillStyle = MARK[theme];
    context.fillRect(this.across(this.player.currentTime) - 1, 0, 2, WAVE_HEIGHT);
    context.fillStyle = INK[theme];
  }

  private paintWave(context: CanvasRenderingContext2D, theme: StripView["theme"]): void {
    const { wave } = this.media;
    const reach = wave.reduce((most, [low, high]) => Math.max(most, -low, high), 0) || 1;
    const y = (sample: number): number => WAVE_HEIGHT * (0.5 - 0.46 * (sample / reach));
    const wide = this.width / Math.max(1, wave.length);
    // A halo keeps the wave readable on the darkest colours.
    for (const [colour, more] of [[HALO[theme], 1], [INK[theme], 0]] as const) {
      context.fillStyle = colour;
      wave.forEach(([low, high], at) =>
        context.fillRect(at * wide - more / 2, y(high) - more, Math.max(0.75, wide) + more, Math.max(1, y(low) - y(high)) + 2 * more),
      );
    }
  }
}
