// Two texts side by side: the one that is kept, the one that was explained after it, and what changed between them.
import { h, say, set } from "./dom";
import type { Exhibit } from "./exhibit";
import { mount, type Mounted } from "./explorer.js";
import { byId } from "./form";
import { percent, quoted, visible } from "./words";

export interface Shown {
  readonly text: string;
  readonly exhibit: Exhibit;
}

export class Comparison {
  private kept: Shown | null = null;
  private mounted: Mounted | null = null;
  private current: Shown | null = null;

  constructor() {
    byId("keep").addEventListener("click", () => (this.kept ? this.end() : this.begin()));
  }

  /** What is shown now; beside it stands what was kept. */
  show(current: Shown): void {
    this.current = current;
    say(byId("changed"), this.kept && this.kept !== current ? changed(this.kept, current) : "");
  }

  private begin(): void {
    if (!this.current) return;
    this.kept = this.current;
    const place = h("div");
    byId("beside").replaceChildren(place);
    this.mounted = mount(place, this.kept.exhibit);
    this.arrange(true);
    say(byId("changed"), "Change the text above and explain it: the two answers stand side by side.");
    byId<HTMLTextAreaElement>("text").focus();
  }

  private end(): void {
    this.kept = null;
    this.mounted?.destroy();
    this.mounted = null;
    this.arrange(false);
    say(byId("changed"), "");
  }

  private arrange(two: boolean): void {
    byId("beside").hidden = !two;
    set(byId("both"), "data-two", two);
    set(byId("keep"), "aria-pressed", String(two));
  }
}

/** Which words differ, and what the model says of each text. */
export function changed(one: Shown, other: Shown): string {
  const [before, after] = [one.text.trim().split(/\s+/), other.text.trim().split(/\s+/)];
  let start = 0;
  while (start < Math.min(before.length, after.length) && before[start] === after[start]) start++;
  let end = 0;
  while (end < Math.min(before.length, after.length) - start && before.at(-1 - end) === after.at(-1 - end)) end++;
  const part = (words: string[]): string => words.slice(start, words.length - end).join(" ");
  const said = ({ exhibit: { prediction } }: Shown): string =>
    prediction ? `${quoted(visible(prediction.label).trim())}${prediction.probability === null ? "" : ` (${percent(prediction.probability)})`}` : "";
  const words = part(before) || part(after) ? `${quoted(visible(part(before) || " "))} became ${quoted(visible(part(after) || " "))}.` : "The texts are the same.";
  const [was, is] = [said(one), said(other)];
  return was && is ? `${words} The model said ${was}, and now says ${is}.` : words;
}
