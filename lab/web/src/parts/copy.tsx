// Buttons that copy a text: a command for the terminal, a link. Where the browser forbids it, the text is shown instead, and stays.
import { useState } from "preact/hooks";
import { curlOf } from "../commands";

interface CopyProps {
  /** Asked for when it is copied. */
  text: () => string;
  label: string;
  /** What it copies, which tells it from others with the same label. */
  of: string;
}

export function CopyButton({ text, label, of }: CopyProps) {
  const [outcome, setOutcome] = useState<"" | "copied" | "forbidden">("");
  const copy = (button: HTMLElement) => {
    // "Copied" is shorter. A button beside it must not move when it is pressed, and this one loses the focus by that.
    button.style.minWidth = `${button.offsetWidth}px`;
    return Promise.resolve()
      .then(() => navigator.clipboard.writeText(text()))
      .then(() => setOutcome("copied"), () => setOutcome("forbidden"));
  };
  return (
    <>
      <button type="button" class="button copy" title={of} onClick={(event) => copy(event.currentTarget)} onBlur={() => setOutcome((was) => (was === "copied" ? "" : was))}>
        {outcome === "copied" ? "Copied" : label}
      </button>
      {outcome === "forbidden" && <code class="copy-text">{text()}</code>}
    </>
  );
}

/** Beside the button of an action: the same action as a line for the terminal. */
export function CopyAsCurl({ of, method, path, body, label = "Copy as curl" }: { of: string; method: string; path: string; body?: object; label?: string }) {
  return <CopyButton label={label} of={`${of}, for the terminal`} text={() => curlOf(method, path, body)} />;
}
