// The one live region of the page.
import { announcement } from "../state/announce";

export function Announcer() {
  return (
    <div class="sr-only" role="status" aria-live="polite" data-testid="announcer">
      {announcement.value}
    </div>
  );
}
