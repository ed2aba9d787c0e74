// The page of `contextmix serve`: a text goes to the server, and what comes back is shown by the explorer.
import * as server from "./client";
import { h, say } from "./dom";
import { mount, type Mounted } from "./explorer.js";
import { byId, Form } from "./form";

const POLL = 150; // milliseconds between two looks at the progress

class Page {
  private running: string | null = null;
  private turn = 0; // of the latest request: what comes back for an older one is not shown
  private shown: Mounted | null = null;
  private id: string | null = null;
  private readonly go = byId<HTMLButtonElement>("go");
  private readonly bar = byId<HTMLProgressElement>("bar");

  constructor(private readonly form: Form) {
    byId<HTMLFormElement>("form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.explore();
    });
    byId("cancel").addEventListener("click", () => this.cancel());
    byId("save").addEventListener("click", () => void this.save());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void this.explore();
      else if (event.key === "Escape" && this.running !== null) this.cancel();
    });
    window.addEventListener("pagehide", () => this.drop());
    this.go.disabled = false;
  }

  private async explore(): Promise<void> {
    const asked = this.form.read();
    if (asked.methods.length === 0) return this.form.refuse("Choose one method at least.", "methods");
    if (!asked.text.trim()) return this.form.refuse("Type a text, or choose an example.", "text");
    if (asked.pair !== null && !asked.pair.trim()) return this.form.refuse("Type the second text.", "pair");
    this.drop();
    const turn = ++this.turn;
    this.form.clear();
    this.busy(true, "Sending\u2026");
    try {
      const begun = await server.explore(asked);
      if (turn !== this.turn) return void server.cancel(begun.id);
      this.running = begun.id;
      if (await this.done(begun.id, turn)) {
        const exhibit = await server.exhibit(begun.id);
        if (turn === this.turn) this.show(begun.id, exhibit);
      }
    } catch (error) {
      if (turn === this.turn) this.refuse(error);
    } finally {
      if (turn === this.turn) this.busy(false);
    }
  }

  /** Wait for the end; false if something else was asked for in the meantime. */
  private async done(id: string, turn: number): Promise<boolean> {
    for (;;) {
      const now = await server.progress(id);
      if (turn !== this.turn) return false;
      if (now.state === "done") return true;
      if (now.state === "failed") throw new server.Refusal(now.reason ?? "It failed.", now.field);
      const waits = now.ahead > 0 ? `Waiting; ${now.ahead} before this one.` : "Waiting\u2026";
      this.busy(true, now.state === "queued" ? waits : now.what, now.state === "queued" ? null : now.progress);
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
  }

  private show(id: string, exhibit: unknown): void {
    this.running = null;
    this.id = id;
    byId("result").hidden = false;
    const place = byId("explorer");
    if (this.shown) this.shown.destroy();
    this.shown = mount(place, exhibit);
    byId("result").scrollIntoView({ block: "nearest" });
    say(byId("status"), "The answer is below.");
  }

  private cancel(): void {
    this.drop();
    this.turn += 1;
    this.busy(false);
    say(byId("status"), "Cancelled.");
  }

  /** Nobody waits for it any more. */
  private drop(): void {
    if (this.running !== null) void server.cancel(this.running);
    this.running = null;
  }

  private busy(working: boolean, what = "", done: number | null = null): void {
    byId("working").hidden = !working;
    say(byId("what"), what);
    if (done === null) this.bar.removeAttribute("value");
    else this.bar.value = done;
    if (!working) this.running = null;
    else say(byId("status"), "");
  }

  private async save(): Promise<void> {
    if (this.id === null) return;
    try {
      const address = URL.createObjectURL(await server.report(this.id));
      h("a", { href: address, download: "contextmix.html" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (error) {
      this.refuse(error);
    }
  }

  private refuse(error: unknown): void {
    const told = error instanceof server.Refusal ? error : new server.Refusal(String(error), null);
    this.form.refuse(told.message, told.field);
  }
}

async function open(): Promise<void> {
  try {
    const [models, methods] = await Promise.all([server.models(), server.methods()]);
    new Page(new Form(models, methods));
  } catch (error) {
    say(byId("error"), (error as Error).message);
  }
}

void open();
