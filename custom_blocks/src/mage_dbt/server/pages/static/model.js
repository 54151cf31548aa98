// A model's page: its charts of seconds and rows, whose table says the same, and the picture of
// what reads what, which begins where the model stands.
"use strict";

(() => {
  for (const picture of document.querySelectorAll(".lineage")) {
    const focus = picture.querySelector(".focus rect");
    if (focus) {
      const middle = (start, size, room) => Number(start) + Number(size) / 2 - room / 2;
      picture.scrollLeft = middle(focus.getAttribute("x"), focus.getAttribute("width"), picture.clientWidth);
      picture.scrollTop = middle(focus.getAttribute("y"), focus.getAttribute("height"), picture.clientHeight);
    }
  }

  const data = document.getElementById("series");
  if (!data) {
    return;
  }
  const series = JSON.parse(data.textContent);
  const language = document.documentElement.lang;
  const days = new Intl.DateTimeFormat(language, { timeZone: series.zone, month: "short", day: "numeric" });
  const full = new Intl.DateTimeFormat(language, {
    timeZone: series.zone, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
  });
  const small = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
  const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const charts = [];

  function draw(figure) {
    const name = figure.dataset.chart;
    const values = series[name];
    if (!values.some((value) => value !== null)) {
      figure.hidden = true;
      return;
    }
    const passed = values.map((value, place) => (series.passed[place] ? value : null));
    const failed = values.map((value, place) => (series.passed[place] ? null : value));
    // Korean writes a unit without a space.
    const unit = (figure.dataset.unit && language !== "ko" ? " " : "") + figure.dataset.unit;
    const axis = { stroke: () => colour("--mute"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const shown = document.createElement("div");
    shown.className = "value why";
    const say = (place) => {
      const at = place ?? values.length - 1;
      const words = values[at] === null ? "–" : `${numbers.format(values[at])}${unit}`;
      const bad = series.passed[at] || !figure.dataset.failed ? "" : ` · ${figure.dataset.failed}`;
      shown.textContent = `${full.format(series.times[at] * 1000)}: ${words}${bad}`;
    };
    const chart = new uPlot(
      {
        width: figure.clientWidth,
        height: 150,
        legend: { show: false },
        cursor: { y: false, drag: { setScale: false, x: false, y: false } },
        scales: { x: { time: true }, y: { range: (self, low, high) => [0, Math.max(high * 1.1, 1)] } },
        axes: [
          { ...axis, values: (self, ticks) => ticks.map((tick) => days.format(tick * 1000)), space: 60, size: 26 },
          { ...axis, values: (self, ticks) => ticks.map((tick) => small.format(tick)), size: 46 },
        ],
        series: [
          {},
          { stroke: () => colour("--blue"), width: 1.5, spanGaps: true, points: { show: true, size: 5, fill: () => colour("--card") } },
          { stroke: () => colour("--red"), fill: () => colour("--red"), width: 0, paths: () => null, points: { show: true, size: 7, fill: () => colour("--red") } },
        ],
        hooks: { setCursor: [(self) => say(self.cursor.idx)] },
      },
      [series.times, passed, failed],
      figure,
    );
    figure.append(shown);
    say(null);
    charts.push([figure, chart]);
  }

  for (const figure of document.querySelectorAll("[data-chart]")) {
    draw(figure);
  }
  window.addEventListener("resize", () => {
    for (const [figure, chart] of charts) {
      chart.setSize({ width: figure.clientWidth, height: 150 });
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [, chart] of charts) {
      chart.redraw(false, true);
    }
  });
})();
