// A heat map with its name, and a row of small ones, one per head.
import { h, say } from "./dom";
import { HeatMap, type MapEvents } from "./map";
import type { MapView } from "./layout";
import { savePicture, type Kind } from "./picture";
import type { Table } from "./scaling";

export type Look = Omit<MapView, "key" | "scores" | "rows" | "columns">;

export class Figure {
  readonly element = h("figure");
  private readonly note = h("span");
  private readonly map: HeatMap;

  constructor(title: string, method: string, events: MapEvents) {
    this.map = new HeatMap(events);
    const buttons = (["png", "svg"] as const).map((kind) => this.saver(kind, `contextmix ${method} ${title}`, title));
    const caption = h("span", {}, h("strong", {}, title), " ", this.note);
    this.element.append(h("figcaption", { class: "saved" }, caption, h("span", { class: "savers" }, ...buttons)), this.map.element);
  }

  private saver(kind: Kind, file: string, title: string): HTMLElement {
    const name = kind.toUpperCase();
    const button = h("button", { type: "button", class: "saver", title: `Save this map as ${name}`, "aria-label": `Save ${title} as ${name}` }, name);
    button.addEventListener("click", () => {
      const { picture } = this.map;
      if (picture) savePicture(kind, file, picture.view, picture.plan);
    });
    return button;
  }

  update(table: Table | null, look: (() => Look) | null, note: string): void {
    this.element.hidden = table === null;
    if (!table || !look) return;
    say(this.note, note);
    this.map.update({ ...look(), ...table, rows: table.values.length / table.columns });
  }

  focus(): void {
    this.map.element.focus();
  }

  destroy(): void {
    this.map.destroy();
  }
}

export class HeadFigures {
  readonly element = h("figure", { class: "wide" });
  private readonly box = h("div", { class: "heads" });
  private maps: HeatMap[] = [];

  constructor(private readonly eventsOf: (head: number) => MapEvents) {
    const caption = h("strong", {}, "Tokens × tokens of each head");
    this.element.append(h("figcaption", {}, caption, " click one to see it alone"), this.box);
  }

  update(tables: readonly Table[], look: () => Look): void {
    this.element.hidden = tables.length === 0;
    if (tables.length !== this.maps.length) {
      this.destroy();
      this.maps = tables.map((_, head) => new HeatMap(this.eventsOf(head)));
      this.box.replaceChildren(
        ...this.maps.map(({ element }, head) => h("div", { class: "head" }, h("span", {}, `head ${head}`), element)),
      );
    }
    if (tables.length === 0) return;
    const shared = look();
    this.maps.forEach((map, head) => {
      const table = tables[head]!;
      map.update({ ...shared, ...table, rows: table.values.length / table.columns, label: `head ${head}. ${shared.label}` });
    });
  }

  destroy(): void {
    this.maps.forEach((map) => map.destroy());
  }
}
