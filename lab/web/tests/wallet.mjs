// The running system without its page: SQL on the wallet database, and requests to the services.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { LAB_URL } from "./lab-page.mjs";

const stack = await (await fetch(new URL("/stack", LAB_URL))).json();

/** The one value that a query of the wallet database has, as text. */
export async function sql(query) {
  const { stdout } = await promisify(execFile)("psql", [stack.wallet_database_url, "-Atc", query]);
  return stdout.trim();
}

/** A moment of the wallet database, for `created_at >= …`. */
export const moment = async () => `'${await sql("select clock_timestamp()")}'::timestamptz`;

/** A payment that was debited and never published: dual-write, crashed between its writes. Its id. */
export async function losePayment() {
  const wallet = await post(`${stack.wallet_api}/wallets`, { currency: "INR", opening_balance: "10.00" });
  const headers = { "x-pay-pattern": "dual-write", "x-lab-crash": "between" };
  const pay = post(`${stack.wallet_api}/wallets/${wallet.id}/pay-bill`, { amount: "1.00", account_number: "WIFI-1" }, headers);
  await assert.rejects(pay, "a crash gives no answer");
  return sql(`select id from payments where wallet_id = '${wallet.id}'`);
}

/** The provider takes money under a key that is no id of a payment's kind. */
export async function payAtProvider() {
  const key = `f${crypto.randomUUID().slice(1)}`;
  const bill = { amount: "1.00", currency: "INR", provider: "wifi", account_number: "WIFI-1" };
  await post(`${stack.mock_provider}/payments`, bill, { "idempotency-key": key });
  return key;
}

async function post(url, body, headers = {}) {
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${url}: ${answer.status}`);
  return answer.json();
}
