// The API of `contextmix serve`, as the page uses it.

export interface Model {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly limit: number;
  readonly causal: boolean;
  readonly answers: boolean;
  readonly usual: readonly string[];
}

export interface Method {
  readonly name: string;
  readonly title: string;
  readonly question: string;
  readonly formula: string;
  readonly paper: string;
  readonly quantity: string;
  readonly cost: string;
  readonly requirements: string;
  readonly slow: boolean;
  readonly of_model: boolean;
}

export interface Asked {
  readonly model: string;
  readonly text: string;
  readonly pair: string | null;
  readonly methods: readonly string[];
  readonly query: number | string | null;
  readonly target: string | null;
  readonly against: string | null;
  readonly heads: boolean;
  readonly each_class: true;
}

export interface AskedAnswer {
  readonly model: string;
  readonly question: string;
  readonly context: readonly string[];
  readonly answer: string | null;
  readonly sources: string;
  readonly units: string;
  readonly method: string;
  readonly max_new_tokens?: number;
  readonly template: string | null;
  readonly truncate: boolean;
  readonly dependence: boolean;
  readonly ablate: string | null;
}

/** An answer as the page shows it: markup of the server's own, in which every text is escaped. */
export interface ShownAnswer {
  readonly html: string;
  readonly signed: boolean;
  readonly numbers: unknown;
}

export interface Exploration {
  readonly id: string;
  readonly state: "queued" | "running" | "done" | "failed";
  readonly progress: number;
  readonly what: string;
  readonly ahead: number;
  readonly reason: string | null;
  readonly field: string | null;
}

/** What the server did not do, in its own words. */
export class Refusal extends Error {
  constructor(
    reason: string,
    readonly field: string | null,
  ) {
    super(reason);
  }
}

async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal("The server does not answer. Is it still running?", null);
  }
  if (response.ok) return response;
  const told = (await response.json().catch(() => null)) as { reason?: string; field?: string | null } | null;
  throw new Refusal(told?.reason ?? `The server answered ${response.status}.`, told?.field ?? null);
}

export type Kind = "explorations" | "answers";

const at = (kind: Kind, id: string, part = ""): string => `/api/${kind}/${encodeURIComponent(id)}${part}`;

export const models = async (): Promise<Model[]> => (await ask("/api/models")).json();
export const methods = async (): Promise<Method[]> => (await ask("/api/methods")).json();
export const progress = async (kind: Kind, id: string): Promise<Exploration> => (await ask(at(kind, id))).json();
export const exhibit = async (id: string): Promise<unknown> => (await ask(at("explorations", id, "/exhibit"))).json();
export const shown = async (id: string, cut: string): Promise<ShownAnswer> =>
  (await ask(at("answers", id, `/shown?${cut}`))).json();
export const report = async (kind: Kind, id: string, cut = ""): Promise<Blob> =>
  (await ask(at(kind, id, `/report?${cut}`))).blob();

export async function begin(kind: Kind, asked: Asked | AskedAnswer): Promise<Exploration> {
  const headers = { "Content-Type": "application/json" };
  return (await ask(`/api/${kind}`, { method: "POST", headers, body: JSON.stringify(asked) })).json();
}

/** Also while the page is being left: nobody waits for what is then still computed. */
export async function cancel(kind: Kind, id: string): Promise<void> {
  await ask(at(kind, id), { method: "DELETE", keepalive: true }).catch(() => undefined);
}
