import { h } from "./dom";

/** Let the browser save a page. */
export function keep(page: Blob): void {
  const address = URL.createObjectURL(page);
  h("a", { href: address, download: "contextmix.html" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
