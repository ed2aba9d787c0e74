// The second view of `contextmix serve`: texts and a question go to the server; the answer and its sources come back.
import { mount } from "./answer.js";
import * as server from "./client";
import { h, say, set } from "./dom";
import { byId, clear, refuse } from "./form";
import { Jobs, told } from "./jobs";
import { keep } from "./saving";

const EXAMPLES: readonly { name: string; texts: readonly string[]; question: string }[] = [
  {
    name: "A question",
    texts: ["Tom has the blue kite. The sun was hot.", "Lily has the red ball. Lily lives in Oslo."],
    question: "Who has the red ball?",
  },
  {
    name: "A story to go on with",
    texts: ["Tom had a big dog. The sun was hot.", "Lily had a red ball."],
    question: "Lily wanted to play with her",
  },
];
const at = <T extends HTMLElement>(id: string): T => byId<T>(`answer-${id}`);

export class AnswerView {
  private id: string | null = null;
  private looks = 0; // how often the cut was changed: only the last one is shown
  private readonly texts = at("texts");
  private readonly jobs = new Jobs("answers", "answer-", (error) => this.refuse(error));

  constructor(
    private readonly models: readonly server.Model[],
    methods: readonly server.Method[],
  ) {
    const names = methods.map((one) => one.name);
    const usual = models[0]?.usual.find((name) => names.includes(name));
    fill(at("method"), names, usual ?? "");
    fill(at("model"), models.map((one) => one.name), models[0]?.name ?? "");
    at("model").addEventListener("change", () => this.suit());
    at("add").addEventListener("click", () => this.add("").focus());
    at("form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.go();
    });
    for (const id of ["sources", "units"]) at(id).addEventListener("change", () => void this.cut());
    at("save").addEventListener("click", () => void this.save());
    for (const one of EXAMPLES) {
      const button = h("button", { type: "button" }, one.name);
      button.addEventListener("click", () => this.take(one.texts, one.question));
      at("examples").append(button);
    }
    this.add("");
    this.suit();
    at<HTMLButtonElement>("go").disabled = false;
  }

  async go(): Promise<void> {
    const asked = this.read();
    if (!asked.question.trim()) return this.refuse(new server.Refusal("Type a question, or choose an example.", "question"));
    const most = asked.max_new_tokens ?? 1;
    if (!Number.isInteger(most) || most < 1)
      return this.refuse(new server.Refusal("Give a whole number of tokens, at least 1.", "max_new_tokens"));
    clear("answer-");
    await this.jobs.run(
      () => server.begin("answers", asked),
      async (id) => {
        const shown = await server.shown(id, this.asks());
        return () => {
          this.id = id;
          this.show(shown);
          at("result").scrollIntoView({ block: "nearest" });
        };
      },
    );
  }

  stop(): void {
    if (this.jobs.isRunning) this.jobs.cancel();
  }

  /** The request, as the fields say it. */
  private read(): server.AskedAnswer {
    const value = (id: string): string => at<HTMLInputElement>(id).value;
    const checked = (id: string): boolean => at<HTMLInputElement>(id).checked;
    return {
      model: value("model"),
      question: value("question"),
      context: this.boxes().map((box) => box.value).filter((text) => text.trim()),
      answer: value("answer").trim() ? value("answer") : null,
      sources: value("sources"),
      units: value("units"),
      method: value("method"),
      ...(value("max_new_tokens") && { max_new_tokens: Number(value("max_new_tokens")) }),
      template: value("template").trim() || null,
      truncate: checked("truncate"),
      dependence: checked("dependence"),
      ablate: value("ablate") || null,
    };
  }

  /** How the answer is cut, as an address says it. */
  private asks(): string {
    const names = ["sources", "units"].map((name) => [name, at<HTMLSelectElement>(name).value]);
    return new URLSearchParams(names).toString();
  }

  /** The same answer, cut in another way: the server needs no run of the model for it. */
  private async cut(): Promise<void> {
    if (this.id === null) return;
    const look = ++this.looks;
    try {
      const shown = await server.shown(this.id, this.asks());
      if (look !== this.looks) return;
      clear("answer-");
      this.show(shown);
    } catch (error) {
      if (look === this.looks) this.refuse(told(error));
    }
  }

  /** In a shadow root, where the looks of this page do not reach. */
  private show(shown: server.ShownAnswer): void {
    const host = h("div");
    const root = host.attachShadow({ mode: "open" });
    // Parsed apart, where nothing loads or runs. It is the server's own template, which escapes every text.
    const parts = new DOMParser().parseFromString(shown.html, "text/html").body.childNodes;
    root.append(h("link", { rel: "stylesheet", href: "/answer.css" }), h("div", { class: shown.signed ? "signed" : "" }, ...parts));
    at("shown").replaceChildren(host);
    at("result").hidden = false;
    mount(root, shown.numbers);
  }

  private async save(): Promise<void> {
    if (this.id === null) return;
    try {
      keep(await server.report("answers", this.id, this.asks()));
    } catch (error) {
      this.refuse(told(error));
    }
  }

  private refuse(error: server.Refusal): void {
    refuse("answer-", error.message, error.field);
    if (error.field === "context") this.boxes()[0]?.focus();
  }

  // The texts

  private boxes(): HTMLTextAreaElement[] {
    return [...this.texts.querySelectorAll("textarea")];
  }

  private take(texts: readonly string[], question: string): void {
    this.texts.replaceChildren();
    for (const text of texts) this.add(text);
    at<HTMLTextAreaElement>("question").value = question;
    at<HTMLInputElement>("max_new_tokens").value = "12"; // the model of these stories ends nowhere
    at("question").focus();
  }

  private add(text: string): HTMLTextAreaElement {
    const box = h("textarea", { rows: 2, dir: "auto", spellcheck: "false", "aria-describedby": "answer-context-error" });
    box.value = text;
    const remove = h("button", { type: "button" }, "Remove");
    const line = h("div", { class: "one-text" }, h("label", {}), box, remove);
    remove.addEventListener("click", () => {
      const place = this.boxes().indexOf(box);
      line.remove();
      this.number();
      (this.boxes()[Math.max(place - 1, 0)] ?? at("add")).focus();
      say(at("status"), `Text ${place + 1} was removed.`);
    });
    this.texts.append(line);
    this.number();
    return box;
  }

  /** Names of the texts, as the answer will call them. */
  private number(): void {
    this.boxes().forEach((box, place) => {
      const name = `Text ${place + 1}`;
      box.id = `answer-text-${place + 1}`;
      const [label, , remove] = box.parentElement?.children ?? [];
      if (!label || !remove) return;
      set(label, "for", box.id);
      say(label as HTMLElement, name);
      set(remove, "aria-label", `Remove ${name}`);
    });
  }

  private suit(): void {
    const model = this.models.find((one) => one.name === at<HTMLSelectElement>("model").value);
    if (model) say(at("limit"), `${model.name} accepts up to ${model.limit} tokens.`);
  }
}

function fill(select: HTMLElement, names: readonly string[], chosen: string): void {
  const list = names.map((name) => h("option", { value: name, selected: name === chosen }, name));
  select.replaceChildren(...list);
}
