// Sends lost payments on their way again, here or by the command that does the same.
import { redrive, redriveAll } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { live, money } from "../state/store";

const OPERATOR = "-H 'x-operator: you'";

export function RepairOne({ id }: { id: string }) {
  return (
    <Repair act={() => redrive(id)} curl={`curl -X POST ${OPERATOR} ${operators()}/payments/${id}/redrive`}>
      Send it on its way again
    </Repair>
  );
}

/** Those that the money was counted of. Payments that are pending and not lost are published again, too. Each is paid only once. */
export function RepairAll() {
  const body = JSON.stringify({ pending_for: "3s", after: firstIdAt(money.value?.since ?? 0) });
  const order = `-H 'content-type: application/json' -d '${body}'`;
  return (
    <Repair act={redriveAll} curl={`curl ${OPERATOR} ${order} ${operators()}/payments/redrive`}>
      Send them on their way again
    </Repair>
  );
}

function Repair({ act, curl, children }: { act: () => Promise<unknown>; curl: string; children: string }) {
  const command = useCommand();
  return (
    <div class="repair">
      <p class="commands">
        <CommandButton command={command} act={act} icon="restart" title="Appends the event of the payment to the outbox again; each step takes a payment once">
          {children}
        </CommandButton>
      </p>
      <p class="quiet">
        The same on a terminal: <code>{curl}</code>
      </p>
      <Trouble command={command} />
    </div>
  );
}

/** Payments' ids begin with the time, in ms: each id of `time` or later comes after this one. */
function firstIdAt(time: number): string {
  const hex = time.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

function operators(): string {
  return live.value?.wallet_api_admin ?? "localhost:9080";
}
