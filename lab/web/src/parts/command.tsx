// Buttons that give commands: busy while one is carried out, the reason when they are disabled, the server's words when it refuses.
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { notNow } from "../state/store";
import { Icon, type IconName } from "./icon";

export interface Command {
  busy: boolean;
  error: string | null;
  give: (act: () => Promise<unknown>) => void;
}

/** One command at a time; buttons that share one share its error. */
export function useCommand(): Command {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const give = (act: () => Promise<unknown>) => {
    setBusy(true);
    setError(null);
    act()
      .catch((failure: unknown) => setError(failure instanceof Error ? failure.message : String(failure)))
      .finally(() => setBusy(false));
  };
  return { busy, error, give };
}

interface ButtonProps {
  command: Command;
  act: () => Promise<unknown>;
  icon?: IconName;
  look?: "plain" | "primary" | "danger";
  /** Why it can't be pressed now; null when it can. */
  why?: string | null;
  /** Says the reason below the button, not only to who points at it. */
  sayWhy?: boolean;
  title?: string;
  label?: string;
  children: ComponentChildren;
}

/** A disabled one stays reachable by keyboard, so that its reason can be read. */
export function CommandButton({ command, act, icon, look = "plain", why = null, sayWhy = false, title, label, children }: ButtonProps) {
  const reason = notNow.value ?? why ?? (command.busy ? "The command is being carried out." : null);
  const id = useId();
  return (
    <>
      <button
        type="button"
        class={`button ${look}`}
        aria-disabled={reason !== null}
        aria-describedby={reason ? id : undefined}
        aria-label={label}
        title={reason ?? title}
        onClick={() => reason === null && command.give(act)}
      >
        {icon && <Icon name={icon} />}
        <span>{children}</span>
      </button>
      {reason && <span id={id} class={sayWhy && !command.busy ? "why" : "sr-only"}>{reason}</span>}
    </>
  );
}

/** What went wrong with a command, near its control. */
export function Trouble({ command }: { command: Command }) {
  return (
    <div role="alert" class={command.error ? "trouble" : "trouble-none"}>
      {command.error && (
        <>
          <Icon name="bad" /> {command.error}
        </>
      )}
    </div>
  );
}
