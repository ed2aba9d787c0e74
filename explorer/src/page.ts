// The page of `contextmix serve`: a text goes to the server, and what comes back is shown by the explorer.
import { AnswerView } from "./answers";
import * as server from "./client";
import { Comparison } from "./compared";
import { say, set } from "./dom";
import type { Exhibit } from "./exhibit";
import { mount, type Mounted } from "./explorer.js";
import { byId, clear, Form, refuse } from "./form";
import { Jobs, told } from "./jobs";
import { addressOf, askedBy, viewOf } from "./link";
import { keep } from "./saving";

class ExploreView {
  private shown: Mounted | null = null;
  private id: string | null = null;
  private readonly comparison = new Comparison();
  private readonly jobs = new Jobs("explorations", "", (error) => refuse("", error.message, error.field));

  constructor(private readonly form: Form) {
    byId<HTMLFormElement>("form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.go();
    });
    byId("save").addEventListener("click", () => void this.save());
    byId<HTMLButtonElement>("go").disabled = false;
  }

  /** What a link asks for is asked for again, and shown as it was. */
  async follow(): Promise<void> {
    const asked = askedBy(location.hash);
    if (!asked) return;
    this.form.write(asked);
    await this.go(true);
  }

  async go(linked = false): Promise<void> {
    const asked = this.form.read();
    if (asked.methods.length === 0) return refuse("", "Choose one method at least.", "methods");
    if (!asked.text.trim()) return refuse("", "Type a text, or choose an example.", "text");
    if (asked.pair !== null && !asked.pair.trim()) return refuse("", "Type the second text.", "pair");
    clear("");
    await this.jobs.run(
      () => server.begin("explorations", asked),
      async (id) => {
        const exhibit = await server.exhibit(id);
        return () => this.show(id, exhibit, asked, linked);
      },
    );
  }

  stop(): void {
    if (this.jobs.isRunning) this.jobs.cancel();
  }

  private show(id: string, exhibit: unknown, asked: server.Asked, linked: boolean): void {
    this.id = id;
    const address = addressOf(asked);
    // The choices of what was shown before are none of this one.
    if (!linked) address.write(new URLSearchParams());
    byId("result").hidden = false;
    if (this.shown) this.shown.destroy();
    this.shown = mount(byId("explorer"), exhibit, { address });
    this.comparison.show({ text: asked.text, exhibit: exhibit as Exhibit });
    byId("result").scrollIntoView({ block: "nearest" });
  }

  private async save(): Promise<void> {
    if (this.id === null) return;
    try {
      keep(await server.report("explorations", this.id));
    } catch (error) {
      refuse("", told(error).message, null);
    }
  }
}

interface View {
  go(): Promise<void>;
  stop(): void;
}

/** Which of two views the address names; the second one only where a model answers. */
function switched(explore: View, answer: View | null): void {
  const show = (): void => {
    const second = answer !== null && viewOf(location.hash) === "answer";
    byId("explore-view").hidden = second;
    byId("answer-view").hidden = !second;
    for (const [id, here] of [["to-explore", !second], ["to-answer", second]] as const)
      set(byId(id), "aria-current", here ? "page" : null);
  };
  byId("views").hidden = answer === null;
  window.addEventListener("hashchange", show);
  show();
  document.addEventListener("keydown", (event) => {
    const view = answer !== null && !byId("answer-view").hidden ? answer : explore;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void view.go();
    else if (event.key === "Escape") view.stop();
  });
}

async function open(): Promise<void> {
  try {
    const [models, methods] = await Promise.all([server.models(), server.methods()]);
    const answering = models.filter((model) => model.answers);
    const answer = answering.length > 0 ? new AnswerView(answering, methods) : null;
    const explore = new ExploreView(new Form(models, methods));
    switched(explore, answer);
    await explore.follow();
  } catch (error) {
    say(byId("error"), (error as Error).message);
  }
}

void open();
