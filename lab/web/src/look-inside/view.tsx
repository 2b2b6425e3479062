// Look inside: what the databases, Kafka and the provider hold, one payment's way, the logs, the statistics.
import type { ComponentType } from "preact";
import { route } from "../state/route";
import { LogsPage } from "./logs";
import { StatisticsPage } from "./statistics";
import { TablesPage } from "./tables";
import { TracePage } from "./trace";

const PAGES: [name: string, title: string, page: ComponentType<{ rest: string[] }>][] = [
  ["tables", "Tables and messages", TablesPage],
  ["trace", "One payment", TracePage],
  ["logs", "Logs", LogsPage],
  ["statistics", "Statistics", StatisticsPage],
];

export function LookInsideView() {
  const [name = "tables", ...rest] = route.value.rest;
  const chosen = PAGES.find((page) => page[0] === name) ?? PAGES[0];
  const Chosen = chosen?.[2] ?? TablesPage;
  return (
    <section aria-labelledby="look-inside-title">
      <h2 id="look-inside-title">Look inside</h2>
      <nav class="sub" aria-label="Look inside">
        <ul>
          {PAGES.map(([page, title]) => (
            <li key={page}>
              <a href={`#look-inside/${page}`} aria-current={page === chosen?.[0] ? "page" : undefined}>
                {title}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <Chosen rest={rest} />
    </section>
  );
}
