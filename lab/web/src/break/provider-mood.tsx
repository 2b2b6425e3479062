// How the provider misbehaves: shares of its answers that time out, fail, or decline.
import { useState } from "preact/hooks";
import type { Behaviour } from "../contract";
import { setBehaviour } from "../orders";
import { ShareField } from "../parts/field";
import { OrderButton, Trouble, useOrder } from "../parts/order";
import { live } from "../state/store";

const GOOD = { timeout_share: 0, server_error_share: 0, decline_share: 0 };

export function ProviderMood() {
  const order = useOrder();
  const present = live.value?.behaviour ?? null;
  const [draft, setDraft] = useState<Behaviour | null>(null);
  const shown = draft ?? present ?? GOOD;
  const sum = shown.timeout_share + shown.server_error_share + shown.decline_share;
  const why =
    present === null
      ? "The provider is down."
      : sum > 1
        ? "Together they are more than all answers."
        : draft === null
          ? "This is how it behaves now."
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
      <p class="orders">
        <OrderButton order={order} act={() => setBehaviour(shown).then(() => setDraft(null))} why={why} sayWhy>
          Apply
        </OrderButton>
        <OrderButton order={order} act={() => setBehaviour(good()).then(() => setDraft(null))} why={present === null ? "The provider is down." : null}>
          Behave
        </OrderButton>
      </p>
      <Trouble order={order} />
    </section>
  );
}
