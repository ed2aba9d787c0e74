// A link to what the local page shows: what was asked for, and what the reader then chose in the explorer.
import { readable, type Address } from "./address";
import type { Asked } from "./client";

const VIEW = "tokens";
const LOOK = "look.";
const TEXTS = ["text", "pair", "query", "target", "against"] as const;

/** Which view the address names. */
export function viewOf(hash: string): string {
  return hash.slice(1).split("?")[0] ?? "";
}

/** What the address asks for; null if it asks for nothing. */
export function askedBy(hash: string): Asked | null {
  const found = choices(hash);
  if (viewOf(hash) !== VIEW || !found.get("text")) return null;
  const [text, pair, query, target, against] = TEXTS.map((name) => found.get(name));
  const methods = (found.get("methods") ?? "").split(",").filter(Boolean);
  return { model: found.get("model") ?? "", text: text!, pair: pair ?? null, methods, query: query ?? null, target: target ?? null, against: against ?? null, heads: found.get("heads") === "true", each_class: true };
}

/** Where the explorer keeps its choices, behind what was asked for. */
export function addressOf(asked: Asked): Address {
  const request = new URLSearchParams();
  request.set("model", asked.model);
  for (const name of TEXTS) if (asked[name] !== null) request.set(name, String(asked[name]));
  request.set("methods", asked.methods.join(","));
  if (asked.heads) request.set("heads", "true");
  return {
    read: () => {
      const found = [...choices(location.hash)].filter(([name]) => name.startsWith(LOOK));
      return new URLSearchParams(found.map(([name, value]) => [name.slice(LOOK.length), value]));
    },
    write: (look) => {
      if (!["", VIEW].includes(viewOf(location.hash))) return;
      const all = new URLSearchParams(request);
      for (const [name, value] of look) all.set(LOOK + name, value);
      history.replaceState(null, "", `#${VIEW}?${readable(all)}`);
    },
  };
}

function choices(hash: string): URLSearchParams {
  return new URLSearchParams(hash.split("?").slice(1).join("?"));
}
