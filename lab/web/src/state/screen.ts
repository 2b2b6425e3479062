// What the screen allows, as signals: the layout of the page depends on it, not only its style.
import { signal } from "@preact/signals";

/** Wide enough for flow and money side by side above every view. */
export const wide = media("(min-width: 1200px)");
export const dark = media("(prefers-color-scheme: dark)");

function media(query: string) {
  const list = matchMedia(query);
  const matches = signal(list.matches);
  list.addEventListener("change", (event) => {
    matches.value = event.matches;
  });
  return matches;
}
