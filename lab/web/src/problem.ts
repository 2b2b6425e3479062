// What an answer that is not a success says, as a sentence for people. Pure.

/** The field of the request that the server names as wrong. */
export function problemField(body: string): string | null {
  try {
    const { field } = JSON.parse(body) as { field?: unknown };
    return typeof field === "string" ? field : null;
  } catch {
    return null;
  }
}

/** RFC 9457: the detail, else the title, else the status. */
export function problemText(status: number, body: string): string {
  let said = `The lab's server answered ${status}.`;
  try {
    const problem = JSON.parse(body) as { detail?: unknown; title?: unknown };
    const text = problem.detail ?? problem.title;
    if (typeof text === "string" && text !== "") said = text;
  } catch {
    // Not a problem document: the status has to do.
  }
  return status === 403 ? `${said} If the lab was restarted, reload this page.` : said;
}
