// Says that the lab's server is gone; what is shown below is then old.
import { Icon } from "../parts/icon";
import { connected } from "../state/store";

export function ConnectionLost() {
  return (
    <div role="alert">
      {!connected.value && (
        <p class="banner">
          <Icon name="bad" />
          <span>
            <strong>Connection lost, trying again.</strong> What you see is from before. Is <code>./dev up</code> still running?
          </span>
        </p>
      )}
    </div>
  );
}
