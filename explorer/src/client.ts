// The API of `contextmix serve`, as the page uses it.

export interface Model {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly limit: number;
  readonly causal: boolean;
  readonly usual: readonly string[];
}

export interface Method {
  readonly name: string;
  readonly formula: string;
  readonly paper: string;
  readonly quantity: string;
  readonly cost: string;
  readonly needs: string;
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

const at = (id: string, part = ""): string => `/api/explorations/${encodeURIComponent(id)}${part}`;

export const models = async (): Promise<Model[]> => (await ask("/api/models")).json();
export const methods = async (): Promise<Method[]> => (await ask("/api/methods")).json();
export const progress = async (id: string): Promise<Exploration> => (await ask(at(id))).json();
export const exhibit = async (id: string): Promise<unknown> => (await ask(at(id, "/exhibit"))).json();
export const report = async (id: string): Promise<Blob> => (await ask(at(id, "/report"))).blob();

export async function explore(asked: Asked): Promise<Exploration> {
  const headers = { "Content-Type": "application/json" };
  return (await ask("/api/explorations", { method: "POST", headers, body: JSON.stringify(asked) })).json();
}

/** Also while the page is being left: nobody waits for what is then still computed. */
export async function cancel(id: string): Promise<void> {
  await ask(at(id), { method: "DELETE", keepalive: true }).catch(() => undefined);
}
