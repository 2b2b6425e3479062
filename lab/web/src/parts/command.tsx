// Buttons that give commands: busy while one is carried out, the reason when they are disabled, the server's words when it refuses.
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { CommandError } from "../commands";
import { notNow } from "../state/store";
import { Icon, type IconName } from "./icon";

export interface Command {
  busy: boolean;
  error: string | null;
  /** The field of the request that was refused. */
  field: string | null;
  /** Forgets the error, since the request is another one now. */
  forget: () => void;
  give: (act: () => Promise<unknown>) => void;
}

/** One command at a time; buttons that share one share its error. */
export function useCommand(): Command {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ error: string; field: string | null } | null>(null);
  const forget = () => setFailure(null);
  const give = (act: () => Promise<unknown>) => {
    setBusy(true);
    forget();
    act()
      .catch((thrown: unknown) =>
        setFailure({ error: thrown instanceof Error ? thrown.message : String(thrown), field: thrown instanceof CommandError ? thrown.field : null }),
      )
      .finally(() => setBusy(false));
  };
  return { busy, error: failure?.error ?? null, field: failure?.field ?? null, forget, give };
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

/** What went wrong with a command, near its control; `labels` are the page's names of the request's fields. */
export function Trouble({ command, labels = {} }: { command: Command; labels?: Record<string, string> }) {
  const label = command.field && (labels[command.field] ?? command.field);
  return (
    <div role="alert" class={command.error ? "trouble" : "trouble-none"}>
      {command.error && (
        <>
          <Icon name="bad" /> {label ? `${label}: ${command.error}` : command.error}
        </>
      )}
    </div>
  );
}
