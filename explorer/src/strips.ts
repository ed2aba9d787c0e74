// One side's tokens, wherever they are: those with a place in the image or the sound, the others as text.
import { h } from "./dom";
import type { Media } from "./exhibit";
import { ImageStrip, SoundStrip } from "./placed";
import { TokenText, type Strip, type StripEvents, type StripView } from "./tokens";
import type { Unit } from "./units";

export class Strips implements Strip {
  readonly element = h("div", { class: "strips" });
  private readonly text: TokenText;
  private readonly media: ImageStrip | SoundStrip | null;
  private split: { units: readonly Unit[]; placed: Part; other: Part } | null = null;

  constructor(events: StripEvents, media: Media | null) {
    this.text = new TokenText(events);
    this.media = media?.kind === "image" ? new ImageStrip(events, media) : media ? new SoundStrip(events, media) : null;
    this.element.append(...(this.media ? [this.media.element] : []), this.text.element);
  }

  update(view: StripView): void {
    if (!this.media) return this.text.update(view);
    if (this.split?.units !== view.units) {
      const placed = partOf(view.units, ({ place }) => place !== null);
      this.split = { units: view.units, placed, other: partOf(view.units, ({ place }) => place === null) };
    }
    this.media.update(viewOf(view, this.split.placed));
    this.text.update(viewOf(view, this.split.other));
  }

  destroy(): void {
    this.media?.destroy();
  }
}

interface Part {
  readonly units: readonly Unit[];
  readonly places: readonly number[];
}

function partOf(units: readonly Unit[], keep: (unit: Unit) => boolean): Part {
  const places = [...units.keys()].filter((place) => keep(units[place]!));
  return { places, units: places.map((place) => units[place]!) };
}

function viewOf(view: StripView, { units, places }: Part): StripView {
  return {
    ...view,
    units,
    scores: view.scores && Float32Array.from(places, (place) => view.scores![place]!),
    active: places.indexOf(view.active),
    pointed: places.indexOf(view.pointed),
    describe: (place) => view.describe(places[place]!),
  };
}
