// What a reader chose as a part of the page's address, so that a link shows the same; only what differs from the start.
import type { Exhibit } from "./exhibit";
import { initial, layersOf, lengthOf, type State } from "./state";

/** Where the choices of one explorer are kept; a page may hold several. */
export interface Address {
  read(): URLSearchParams;
  write(choices: URLSearchParams): void;
}

/** The part after # of this page's address; those of the second explorer and later ones begin with its number. */
export function ofPage(section: number): Address {
  const prefix = section === 0 ? "" : `${section + 1}.`;
  const own = (name: string): boolean => (prefix ? name.startsWith(prefix) : !/^\d+\./.test(name));
  const all = (): [string, string][] => [...new URLSearchParams(location.hash.slice(1))];
  return {
    read: () => new URLSearchParams(all().filter(([name]) => own(name)).map(([name, value]) => [name.slice(prefix.length), value])),
    write: (choices) => {
      const mine = [...choices].map(([name, value]): [string, string] => [prefix + name, value]);
      const text = readable(new URLSearchParams([...all().filter(([name]) => !own(name)), ...mine]));
      if (text !== location.hash.slice(1)) history.replaceState(null, "", `${location.pathname}${location.search}${text && `#${text}`}`);
    },
  };
}

/** Commas may stay as they are: an address is read by people too. */
export function readable(choices: URLSearchParams): string {
  return choices.toString().replace(/%2C/g, ",");
}

export function choicesOf(state: State, exhibit: Exhibit): URLSearchParams {
  const start = initial(exhibit);
  const choices = new URLSearchParams();
  const note = (name: string, value: unknown, usual: unknown): void => {
    if (String(value) !== String(usual)) choices.set(name, String(value));
  };
  const names = (maps: readonly number[]): string => maps.map((map) => exhibit.maps[map]!.name).join(",");
  note("method", names(state.maps), names(start.maps));
  note("token", state.token, start.token);
  note("layer", state.layer, start.layer);
  note("head", state.head, start.head);
  note("target", state.target, start.target);
  note("direction", state.direction, start.direction);
  note("pinned", state.pinned, false);
  note("words", state.words, false);
  note("special", state.special, start.special);
  note("numbers", state.raw ? "raw" : "share", "share");
  note("threshold", state.threshold, 0);
  note("scale", state.scale, start.scale);
  note("shared", state.shared, false);
  note("grey", state.grey, false);
  note("cover", state.cover, start.cover);
  return choices;
}

/** The state that an address names; what it cannot mean in this exhibit is left as it is at the start. */
export function stateOf(choices: URLSearchParams, exhibit: Exhibit): State {
  const start = initial(exhibit);
  const named = (choices.get("method") ?? "").split(",").map((name) => exhibit.maps.findIndex((map) => map.name === name));
  const found = [...new Set(named.filter((map) => map >= 0))].sort((one, other) => one - other);
  const maps = found.length > 0 ? found : start.maps;
  const direction = one(choices.get("direction"), ["draws", "gives"] as const, start.direction);
  const layers = layersOf(exhibit, maps);
  const layer = whole(choices.get("layer"), (number) => layers.includes(number), layers.includes(start.layer) ? start.layer : layers.at(-1));
  const head = choices.get("head");
  return {
    ...start,
    maps,
    direction,
    layer: layer ?? start.layer,
    token: whole(choices.get("token"), (place) => place < lengthOf(exhibit, direction), start.token)!,
    head: head === "each" || head === "mean" || head === "all" ? head : whole(head, () => true, undefined) ?? start.head,
    target: whole(choices.get("target"), () => true, start.target)!,
    pinned: choices.get("pinned") === "true",
    words: choices.get("words") === "true" && exhibit.keys.words !== null,
    special: one(choices.get("special"), ["aside", "coloured", "hidden"] as const, start.special),
    raw: choices.get("numbers") === "raw",
    threshold: Math.min(0.9, Math.max(0, Number(choices.get("threshold")) || 0)),
    scale: one(choices.get("scale"), ["row", "table"] as const, start.scale),
    shared: choices.get("shared") === "true",
    grey: choices.get("grey") === "true",
    cover: /^[01](\.\d+)?$/.test(choices.get("cover") ?? "") ? Math.min(1, Number(choices.get("cover"))) : start.cover,
  };
}

function one<T extends string>(value: string | null, known: readonly T[], usual: T): T {
  return known.find((each) => each === value) ?? usual;
}

function whole(text: string | null, fits: (number: number) => boolean, usual: number | undefined): number | undefined {
  return text !== null && /^\d{1,6}$/.test(text) && fits(Number(text)) ? Number(text) : usual;
}
