import { h } from "./dom";

/** Let the browser save a page or a picture. */
export function keep(page: Blob, name = "contextmix.html"): void {
  const address = URL.createObjectURL(page);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
