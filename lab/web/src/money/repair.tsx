// Sends lost payments on their way again, here or by the command that does the same.
import { redrive, redriveAll } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { live } from "../state/store";

const OPERATOR = "-H 'x-operator: you'";

export function RepairOne({ id }: { id: string }) {
  return (
    <Repair act={() => redrive(id)} curl={`curl -X POST ${OPERATOR} ${operators()}/payments/${id}/redrive`}>
      Send it on its way again
    </Repair>
  );
}

/** Payments that are pending and not lost are published again, too. Each is paid only once. */
export function RepairAll() {
  const order = `-H 'content-type: application/json' -d '{"pending_for": "3s"}'`;
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

function operators(): string {
  return live.value?.wallet_api_admin ?? "localhost:9080";
}
