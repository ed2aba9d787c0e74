// One job of the server at a time: begun, watched, cancelled; what comes back for an older one is not shown.
import * as server from "./client";
import { say } from "./dom";
import { byId } from "./form";

const POLL = 150; // milliseconds between two looks at the progress

export class Jobs {
  private running: string | null = null;
  private turn = 0; // of the latest request
  private readonly bar: HTMLProgressElement;

  /** Args: what is asked for, what the ids of its elements begin with, and who says what was refused. */
  constructor(
    private readonly kind: server.Kind,
    private readonly prefix: string,
    private readonly refuse: (told: server.Refusal) => void,
  ) {
    this.bar = byId<HTMLProgressElement>(`${prefix}bar`);
    byId(`${prefix}cancel`).addEventListener("click", () => this.cancel());
    window.addEventListener("pagehide", () => this.drop());
  }

  get isRunning(): boolean {
    return this.running !== null;
  }

  /** Begin something and wait for it; `show` gets its id, and returns what to do once it is still wanted. */
  async run(begin: () => Promise<server.Exploration>, show: (id: string) => Promise<() => void>): Promise<void> {
    this.drop();
    const turn = ++this.turn;
    this.busy(true, "Sending\u2026");
    try {
      const begun = await begin();
      if (turn !== this.turn) return void server.cancel(this.kind, begun.id);
      this.running = begun.id;
      if (await this.done(begun.id, turn)) {
        const shown = await show(begun.id);
        if (turn !== this.turn) return;
        this.running = null; // it is kept from now on
        shown();
        say(byId(`${this.prefix}status`), "The answer is below.");
      }
    } catch (error) {
      if (turn === this.turn) this.refuse(told(error));
    } finally {
      if (turn === this.turn) this.busy(false);
    }
  }

  cancel(): void {
    this.drop();
    this.turn += 1;
    this.busy(false);
    say(byId(`${this.prefix}status`), "Cancelled.");
  }

  /** Wait for the end; false if something else was asked for in the meantime. */
  private async done(id: string, turn: number): Promise<boolean> {
    for (;;) {
      const now = await server.progress(this.kind, id);
      if (turn !== this.turn) return false;
      if (now.state === "done") return true;
      if (now.state === "failed") throw new server.Refusal(now.reason ?? "It failed.", now.field);
      const waits = now.ahead > 0 ? `Waiting; ${now.ahead} before this one.` : "Waiting\u2026";
      this.busy(true, now.state === "queued" ? waits : now.what, now.state === "queued" ? null : now.progress);
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
  }

  /** Nobody waits for it any more. */
  private drop(): void {
    if (this.running !== null) void server.cancel(this.kind, this.running);
    this.running = null;
  }

  private busy(working: boolean, what = "", done: number | null = null): void {
    byId(`${this.prefix}working`).hidden = !working;
    say(byId(`${this.prefix}what`), what);
    if (done === null) this.bar.removeAttribute("value");
    else this.bar.value = done;
    if (!working) this.running = null;
    else say(byId(`${this.prefix}status`), "");
  }
}

export function told(error: unknown): server.Refusal {
  return error instanceof server.Refusal ? error : new server.Refusal(String(error), null);
}
