//! A plot for a page: a horizontal bar a case, with its median, and a whisker from the minimum to the maximum.

use std::fmt::Display;

use plotters::prelude::{
    BindKeyPoints as _, ChartBuilder, Color as _, EmptyElement, ErrorBar, IntoDrawingArea as _,
    IntoTextStyle as _, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};

use super::stats::{Measured, Series, Spread};

const WIDTH: u32 = 900;

/// Of a bar, and of everything else.
const ROW_HEIGHT: u32 = 30;
const FRAME_HEIGHT: u32 = 90;

/// Of a letter, about.
const LETTER_WIDTH: usize = 7;

const BAR: RGBColor = RGBColor(0x7a, 0xa6, 0xd8);
const WHISKER: RGBColor = RGBColor(0x1f, 0x2d, 0x3d);

#[derive(Debug)]
pub(super) struct Plot {
    title: &'static str,
    /// How a number is written.
    shown: fn(u64) -> String,
    /// From the top down.
    bars: Vec<(String, Spread<u64>)>,
}

impl Plot {
    /// The figures of the series.
    pub(super) fn new<C: Display, M: Measured>(
        title: &'static str,
        shown: fn(u64) -> String,
        all: &[Series<C, M>],
    ) -> Self {
        Self::of(title, shown, all, M::figure)
    }

    /// What `figure` reads from each round.
    pub(super) fn of<C: Display, M: Measured>(
        title: &'static str,
        shown: fn(u64) -> String,
        all: &[Series<C, M>],
        figure: impl Fn(&M) -> u64,
    ) -> Self {
        let bars = all.iter().filter_map(|series| {
            let spread = Spread::of(series.rounds.iter().map(&figure))?;
            Some((series.case.to_string(), spread))
        });
        Self {
            title,
            shown,
            bars: bars.collect(),
        }
    }

    /// An SVG on a light background of its own, so that it can be read on a dark page too.
    pub(super) fn to_svg(&self) -> anyhow::Result<String> {
        let rows = u32::try_from(self.bars.len())?;
        let most = self.bars.iter().map(|(_, spread)| spread.max).max();
        let longest = self.bars.iter().map(|(name, _)| name.chars().count()).max();
        let name_width = u32::try_from(longest.unwrap_or_default() * LETTER_WIDTH)?;
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, (WIDTH, FRAME_HEIGHT + ROW_HEIGHT * rows));
        let root = root.into_drawing_area();
        root.fill(&WHITE)?;

        // The axes: a bar has two units of height, so that its middle is a whole number. The room on the right is for the
        // number of the longest bar.
        let middles = (0..rows).map(|row| 2 * row + 1);
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(30)
            .y_label_area_size(name_width + 12)
            .build_cartesian_2d(
                0..most.unwrap_or_default() * 5 / 4 + 1,
                (0..2 * rows).with_key_points(middles.clone().collect()),
            )?;
        let name = |middle: &u32| {
            let mut bars = middles.clone().zip(self.bars.iter().rev());
            let (_, (name, _)) = bars.find(|(of_bar, _)| of_bar == middle)?;
            Some(name.clone())
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(self.bars.len() + 1)
            .y_label_formatter(&|middle| name(middle).unwrap_or_default())
            .x_labels(6)
            .x_label_formatter(&|number| (self.shown)(*number))
            .x_max_light_lines(1)
            .label_style(("sans-serif", 16))
            .draw()?;

        // The bars from the bottom up, and over them the whiskers and the medians.
        let bars = middles.clone().zip(self.bars.iter().rev());
        let bars = bars.map(|(middle, (_, spread))| (middle, *spread));
        chart.draw_series(bars.clone().map(|(middle, spread)| {
            let corners = [(0, middle - 1), (spread.median, middle + 1)];
            let mut bar = Rectangle::new(corners, BAR.filled());
            bar.set_margin(6, 6, 0, 0);
            bar
        }))?;
        chart.draw_series(bars.clone().map(|(middle, spread)| {
            let Spread { median, min, max } = spread;
            ErrorBar::new_horizontal(middle, min, median, max, WHISKER.filled(), 8)
        }))?;
        chart.draw_series(bars.map(|(middle, spread)| {
            let style = ("sans-serif", 16).into_text_style(&root);
            let number = Text::new((self.shown)(spread.median), (8, -6), style);
            EmptyElement::at((spread.max, middle)) + number
        }))?;
        root.present()?;
        drop(chart);
        drop(root);
        Ok(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::grouped;

    #[test]
    fn a_plot_names_each_case_and_its_median() {
        let spread = |median| Spread {
            median,
            min: 900,
            max: 20_000,
        };
        let plot = Plot {
            title: "Payments a second",
            shown: grouped,
            bars: vec![
                ("outbox, 1 connection".to_owned(), spread(1_234)),
                ("a < b".to_owned(), spread(15_000)),
            ],
        };
        let svg = plot.to_svg().unwrap();
        for text in [
            ">\nPayments a second",
            ">\noutbox, 1 connection",
            ">\na &lt; b",
            ">\n1,234",
            ">\n15,000",
        ] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
