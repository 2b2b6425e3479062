// The page, from top to bottom.
import "./style/base.css";
import "./style/page.css";
import "./style/flow.css";
import "./style/controls.css";
import "./style/navigation.css";
import "./style/figures.css";
import "./style/parts.css";
import "./style/tables.css";
import "./style/inside.css";
import "./style/charts.css";
import "./style/slow-motion.css";
import { render } from "preact";
import { Announcer } from "./page/announcer";
import { ConnectionLost } from "./page/connection-lost";
import { FoldingIntroduction } from "./page/folding-introduction";
import { Header } from "./page/header";
import { Navigation } from "./page/navigation";
import { StoryBand } from "./page/story-band";
import { CurrentView, focusView, focusViewOnceShown } from "./page/current-view";
import { connect } from "./state/connection";
import { followAddress, parseRoute } from "./state/route";
import { applyTheme } from "./state/theme";

function Page() {
  return (
    <>
      <a class="skip" href="#view">Skip to the view</a>
      <Header />
      <ConnectionLost />
      <main>
        <FoldingIntroduction />
        <div class="always">
          <StoryBand />
          <Navigation />
        </div>
        <CurrentView />
      </main>
      <Announcer />
    </>
  );
}

const root = document.getElementById("app");
if (root) render(<Page />, root);
applyTheme();
followAddress(focusView);
if (parseRoute(location.hash)) focusViewOnceShown();
connect();
