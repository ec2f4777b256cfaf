"use strict";
// The interactive half of a study's report. Everything it shows comes from the JSON block in the
// page; texts reach the page as text nodes, or escaped where Plotly would read markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5b4a9c"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star"];
  const GREY = "#9aa5b1", INK = "#1c2530";
  const column = Object.fromEntries(data.columns.map((one) => [one.key, one]));
  const size = data.number.length;
  const rows = [...Array(size).keys()];
  const escape = (text) =>
    String(text).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

  const shown = (key, row) => column[key].texts[row];
  const numeric = (key) => column[key].kind === "number";
  const distinct = (key) => {
    const values = [...new Set(column[key].values.filter((value) => value !== null))];
    return values.every((value) => typeof value === "number")
      ? values.sort((a, b) => a - b) : values.sort();
  };
  const logarithmic = (key) => column[key].log;
  const colourOf = (key) => {
    const groups = key ? distinct(key) : [];
    const texts = Object.fromEntries(
      groups.map((value) => [value, shown(key, column[key].values.indexOf(value))]));
    return {
      groups, texts,
      index: (row) => (key ? groups.indexOf(column[key].values[row]) : 0),
      colour: (row) => (key ? PALETTE[groups.indexOf(column[key].values[row])] : PALETTE[0]) || GREY,
    };
  };

  function hover(row) {
    const lines = [`<b>Trial ${data.number[row]}</b>${data.knee === row ? " · knee" : ""}`];
    for (const role of ["parameter", "metric"])
      for (const one of data.columns)
        if (one.hover && one.role === role)
          lines.push(`${escape(one.name)}: ${escape(one.texts[row])}`);
    if (!data.ok[row]) lines.push("<b>breaks a constraint</b>");
    return lines.join("<br>");
  }

  function points(x, y, chosen, style) {
    return Object.assign({
      type: "scatter", mode: "markers",
      x: chosen.map((row) => column[x].values[row]),
      y: chosen.map((row) => column[y].values[row]),
      text: chosen.map(hover), hoverinfo: "text",
    }, style);
  }

  function rounded(key) {
    const values = column[key].values.filter((value) => value !== null);
    const low = Math.min(...values), high = Math.max(...values), ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const digit of [1, 2, 5]) ticks.push(Number(`${digit}e${power}`));
    return ticks;
  }

  function axis(key) {
    return {
      title: { text: escape(column[key].label), standoff: 12 },
      type: logarithmic(key) ? "log" : numeric(key) ? "linear" : "category",
      rangemode: "nonnegative",
      range: column[key].view
        ? column[key].view.map(logarithmic(key) ? Math.log10 : Number) : undefined,
      tickvals: logarithmic(key) ? rounded(key) : undefined,
      gridcolor: "#e8ecf0", linecolor: "#b8c1ca", zeroline: false, ticks: "outside",
      tickcolor: "#b8c1ca", automargin: true,
    };
  }

  function frontLine(x, y) {
    const [first, second] = data.objectives;
    if (data.objectives.length !== 2) return [];
    if (!(x === first.key && y === second.key) && !(x === second.key && y === first.key)) return [];
    const chosen = rows.filter((row) => data.front[row]);
    chosen.sort((a, b) => column[x].values[a] - column[x].values[b]);
    const way = data.objectives.find((one) => one.key === x).direction;
    return [points(x, y, chosen, {
      mode: "lines", name: "Pareto front", hoverinfo: "skip", legendrank: 1001,
      line: { color: INK, width: 1.5, shape: way === "minimize" ? "hv" : "vh" },
    })];
  }

  function bar(key, chosen) {
    const { low, high, values } = column[key];
    if (!low || !high) return undefined;
    const reach = (from, to) => (row) => (from[row] === null || to[row] === null
      ? 0 : Math.max(0, to[row] - from[row]));
    return {
      type: "data", symmetric: false, array: chosen.map(reach(values, high)),
      arrayminus: chosen.map(reach(low, values)), color: GREY, thickness: 1.2, width: 3,
    };
  }

  function bars(x, y) {
    const chosen = rows.filter((row) => data.front[row]);
    const across = bar(x, chosen), up = bar(y, chosen);
    if (!chosen.length || !(across || up)) return [];
    return [points(x, y, chosen, {
      name: "80 % error bars", hoverinfo: "skip", legendrank: 1003,
      marker: { size: 1, color: GREY }, error_x: across, error_y: up,
    })];
  }

  function drawScatter(x, y, by) {
    const colour = colourOf(by);
    const broken = rows.filter((row) => !data.ok[row]);
    const traces = [points(x, y, broken, {
      name: "breaks a constraint", legendrank: 1002,
      marker: { symbol: "x-thin", size: 7, line: { width: 1.2, color: GREY } },
    }), ...bars(x, y), ...frontLine(x, y)];
    (by ? colour.groups : [null]).forEach((value, index) => {
      const inside = rows.filter((row) => data.ok[row] && (!by || column[by].values[row] === value));
      const ringed = inside.map((row) => data.front[row]);
      if (inside.length) traces.push(points(x, y, inside, {
        name: by ? escape(colour.texts[value]) : "trials",
        marker: {
          color: PALETTE[index % PALETTE.length], symbol: SYMBOLS[index % SYMBOLS.length],
          size: ringed.map((on) => (on ? 12 : 8)), opacity: ringed.map((on) => (on ? 1 : 0.5)),
          line: { color: ringed.map((on) => (on ? INK : "#fff")), width: ringed.map((on) => (on ? 1.5 : 0.5)) },
        },
      }));
    });
    if (data.knee !== null) traces.push(points(x, y, [data.knee], {
      name: data.kneeName, mode: "markers+text",
      marker: { symbol: "circle-open", size: 24, color: "#d00000", line: { width: 2.5 } },
      text: [`<b>${escape(data.kneeName)}</b>`], textposition: "top right", hoverinfo: "skip",
      textfont: { color: "#b00000", size: 13 },
    }));
    const layout = {
      xaxis: axis(x), yaxis: axis(y), hovermode: "closest", plot_bgcolor: "#fff",
      paper_bgcolor: "#fff", margin: { l: 64, r: 12, t: 8, b: 56 },
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: INK },
      legend: {
        title: { text: by ? escape(column[by].label) : "" }, itemsizing: "constant",
        x: 1.01, y: .95, bgcolor: "rgba(255,255,255,.8)",
      },
      hoverlabel: { bgcolor: "#fff", bordercolor: "#b8c1ca", align: "left", font: { color: INK, size: 12.5 } },
    };
    Plotly.react("scatter", traces, layout, {
      displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
  }

  const SVG = "http://www.w3.org/2000/svg";
  function add(parent, name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  function scale(key, top, bottom) {
    const values = distinct(key);
    if (!numeric(key) || values.length <= 10 && column[key].role === "parameter") {
      const step = (bottom - top) / Math.max(values.length - 1, 1);
      const place = new Map(values.map((value, index) =>
        [value, values.length > 1 ? bottom - index * step : (top + bottom) / 2]));
      const ticks = values.map((value) =>
        [place.get(value), shown(key, column[key].values.indexOf(value))]);
      return { at: (value) => place.get(value), ticks };
    }
    const bend = logarithmic(key) ? Math.log : (value) => value;
    const low = bend(values[0]), high = bend(values[values.length - 1]);
    const at = (value) => bottom - (high > low ? (bend(value) - low) / (high - low) : .5) * (bottom - top);
    const back = logarithmic(key) ? Math.exp : (value) => value;
    const ticks = [0, .25, .5, .75, 1].map((part) => {
      const value = back(low + part * (high - low));
      return [bottom - part * (bottom - top), Number(value.toPrecision(3)).toLocaleString("en")];
    });
    return { at, ticks };
  }

  function drawParallel(by) {
    const svg = document.getElementById("parallel");
    svg.replaceChildren();
    const width = svg.clientWidth, top = 56, bottom = svg.clientHeight - 16;
    const keys = data.parallel;
    const scales = keys.map((key) => scale(key, top, bottom));
    const longest = Math.max(...scales[0].ticks.map(([, text]) => text.length));
    const left = Math.min(24 + 7.5 * longest, 220), gap = (width - left - 64) / Math.max(keys.length - 1, 1);
    const colour = colourOf(by);
    const lines = add(svg, "g", {});
    const any = data.ok.some(Boolean);
    const order = rows.filter((row) => (data.ok[row] || !any) && keys.every((key) => column[key].values[row] !== null))
      .sort((a, b) => data.front[a] - data.front[b] || (a === data.knee) - (b === data.knee));
    const told = document.getElementById("told");
    for (const row of order) {
      const path = keys.map((key, index) =>
        `${index ? "L" : "M"}${(left + index * gap).toFixed(1)} ${scales[index].at(column[key].values[row]).toFixed(1)}`);
      const kind = row === data.knee ? "on-front knee" : data.front[row] ? "on-front" : "";
      const line = add(lines, "path", { d: path.join(""), class: `trial ${kind}`, stroke: colour.colour(row) });
      line.addEventListener("mouseenter", () => {
        line.classList.add("lit");
        told.textContent = `Trial ${data.number[row]}: ` +
          keys.map((key) => `${column[key].name} ${shown(key, row)}`).join(" · ");
      });
      line.addEventListener("mouseleave", () => { line.classList.remove("lit"); told.textContent = ""; });
    }
    keys.forEach((key, index) => {
      const x = left + index * gap;
      add(svg, "line", { x1: x, x2: x, y1: top, y2: bottom, class: "axis" });
      const words = column[key].label.split(/(?<=[_\s])/);
      const titles = [""];
      for (const word of words)
        if ((titles[titles.length - 1] + word).length > Math.max(12, gap / 7.5)) titles.push(word);
        else titles[titles.length - 1] += word;
      titles.filter(Boolean).forEach((line, at, all) => add(svg, "text",
        { x, y: top - 12 - 15 * (all.length - 1 - at), "text-anchor": "middle", class: "title" }, line.trim()));
      for (const [y, text] of scales[index].ticks) {
        const label = add(svg, "text", { x: x - 7, y: y + 4, "text-anchor": "end" }, text);
        label.style.paintOrder = "stroke";
        label.style.stroke = "#fff";
        label.style.strokeWidth = "4px";
      }
    });
  }

  function makeSortable(table) {
    table.querySelectorAll("th").forEach((head, index) => {
      head.querySelector("button").addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (tr) => tr.cells[index].dataset.value ?? "";
        const body = table.tBodies[0];
        [...body.rows].sort((a, b) => {
          const [one, other] = [value(a), value(b)];
          const order = one !== "" && other !== "" && isFinite(one) && isFinite(other)
            ? one - other : one.localeCompare(other);
          return down ? -order : order;
        }).forEach((tr) => body.appendChild(tr));
      });
    });
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  if (!document.getElementById("scatter")) return;
  const pick = (id) => document.getElementById(id).value;
  const draw = () => {
    drawScatter(pick("axis-x"), pick("axis-y"), pick("colour"));
    drawParallel(pick("colour"));
  };
  for (const id of ["axis-x", "axis-y", "colour"])
    document.getElementById(id).addEventListener("change", draw);
  window.addEventListener("resize", () => drawParallel(pick("colour")));
  draw();
})();
