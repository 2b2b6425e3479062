// Data fetched for as long as it is looked at: again every so often, and at once when what is asked for changes.
import { useEffect, useState } from "preact/hooks";
import { connected } from "../state/store";

export interface Fetched<T> {
  data: T | null;
  error: string | null;
  /** What is shown is the answer to the previous question; the answer to the present one has yet to come. */
  stale: boolean;
}

/**
 * `key` names what is asked for; the answer to the old one stays until the new one is there. With `everyMs` null it is asked once.
 * The next question waits for the answer to the last one, and for a tab that is in sight.
 */
export function useFetched<T>(key: string, everyMs: number | null, ask: (signal: AbortSignal) => Promise<T>): Fetched<T> {
  const [state, setState] = useState<{ key: string; data: T | null; error: string | null }>({ key, data: null, error: null });
  const back = connected.value;
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const again = () => {
      if (everyMs !== null && !abort.signal.aborted) timer = window.setTimeout(round, everyMs);
    };
    const round = () => {
      if (document.hidden && everyMs !== null) return again();
      ask(abort.signal)
        .then((data) => setState({ key, data, error: null }))
        .catch((error: unknown) => {
          if (abort.signal.aborted) return;
          const said = error instanceof Error ? error.message : String(error);
          setState((old) => ({ key, data: old.key === key ? old.data : null, error: said }));
        })
        .finally(again);
    };
    round();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [key, everyMs, back]);
  return { data: state.data, error: state.error, stale: state.key !== key };
}
