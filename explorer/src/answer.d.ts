// views/page/answer/answer.js, which pages of answers hold too.
export function mount(root: Document | ShadowRoot, data: unknown): void;
