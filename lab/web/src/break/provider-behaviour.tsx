// How the provider misbehaves: shares of its answers that time out, fail, or decline.
import { useState } from "preact/hooks";
import type { Behaviour } from "../contract";
import { setBehaviour } from "../commands";
import { ShareField } from "../parts/field";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { live } from "../state/store";

const GOOD = { timeout_share: 0, server_error_share: 0, decline_share: 0 };

export function ProviderBehaviour() {
  const command = useCommand();
  const present = live.value?.behaviour ?? null;
  const [draft, setDraft] = useState<Behaviour | null>(null);
  const shown = draft ?? present ?? GOOD;
  const sum = shown.timeout_share + shown.server_error_share + shown.decline_share;
  const why =
    present === null
      ? "The provider is down."
      : sum > 1
        ? "Together they are more than 1."
        : draft === null
          ? "The provider behaves like this now."
          : null;
  /** Every share that the provider knows, not only those shown here. */
  const good = () => ({ ...GOOD, ...Object.fromEntries(Object.keys(shown).map((name) => [name, 0])) });
  const field = (name: keyof typeof GOOD, label: string, hint: string) => (
    <ShareField label={label} hint={hint} value={shown[name]} onChange={(value) => setDraft({ ...shown, [name]: value })} />
  );
  return (
    <section class="card part" aria-label="The provider's behaviour">
      <div class="fields">
        {field("timeout_share", "Answers lost", "money taken, reply never sent")}
        {field("server_error_share", "Server errors", "answers 500")}
        {field("decline_share", "Declines", "refuses: the wallet is refunded")}
      </div>
      <p class="commands">
        <CommandButton command={command} act={() => setBehaviour(shown).then(() => setDraft(null))} why={why} sayWhy>
          Apply
        </CommandButton>
        <CopyAsCurl of="Apply" method="PUT" path="/api/behaviour" body={shown} />
        <CommandButton command={command} act={() => setBehaviour(good()).then(() => setDraft(null))} why={present === null ? "The provider is down." : null}>
          Back to normal
        </CommandButton>
        <CopyAsCurl of="Back to normal" method="PUT" path="/api/behaviour" body={good()} />
      </p>
      <Trouble command={command} />
    </section>
  );
}
