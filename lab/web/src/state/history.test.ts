import { expect, it } from "vitest";
import { quietSnapshot } from "../sample";
import { emptyHistory, SAMPLES_MAX, withSnapshot } from "./history";

it("takes one sample a second of four snapshots a second", () => {
  let history = emptyHistory();
  for (let i = 0; i < 40; i += 1) history = withSnapshot(history, quietSnapshot({ at: 1_000_000 + i * 250 }));
  expect(history.at).toHaveLength(10);
  expect(history.at[1]).toBe(1001);
});

it("keeps some minutes and no more, in every column", () => {
  let history = emptyHistory();
  for (let i = 0; i < SAMPLES_MAX + 50; i += 1) history = withSnapshot(history, quietSnapshot({ at: 1_000_000 + i * 1000 }));
  expect(history.at).toHaveLength(SAMPLES_MAX);
  for (const column of Object.values(history.values)) expect(column).toHaveLength(SAMPLES_MAX);
  expect(history.at[SAMPLES_MAX - 1]).toBe(1000 + SAMPLES_MAX + 49);
});

it("adds up both outboxes and takes the older event, and leaves a gap for what nobody knows", () => {
  const { flow } = quietSnapshot();
  const both = quietSnapshot({ flow: { ...flow, outbox_wallet: 3, outbox_bill: 4, oldest_wallet_ms: 500, oldest_bill_ms: 2500 } });
  expect(withSnapshot(emptyHistory(), both).values).toMatchObject({ waiting: [7], oldest_s: [2.5] });
  const down = quietSnapshot({ flow: { ...flow, outbox_wallet: null, outbox_bill: null, requests: null } });
  expect(withSnapshot(emptyHistory(), down).values).toMatchObject({ waiting: [null], requests: [null] });
});
