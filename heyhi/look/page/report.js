// The page's program. What it shows comes from `data` (see page_data in report.py) and is put in as text, never as HTML.

const at = (id) => document.getElementById(id);

// ---- What is packed into the page

async function unpacked(id) {
  const text = atob(at(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function library(id) {
  const place = URL.createObjectURL(new Blob([await unpacked(id)], { type: "text/javascript" }));
  const found = await import(place);
  URL.revokeObjectURL(place);
  return found;
}

// ---- Texts

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const isMissing = (value) => value === null || value === undefined || value === "";

function numberText(value) {
  const number = Number(value);
  if (!Number.isFinite(number) || typeof value === "boolean") return String(value);
  if (Number.isInteger(number)) return String(value);
  return Math.abs(number) >= 1e-4 && Math.abs(number) < 1e6 ? String(+number.toPrecision(5)) : number.toPrecision(4);
}

function durationText(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return seconds < 10 ? `${+seconds.toFixed(1)} s` : `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

const short = (value) => (Object.hasOwn(data.short, value) ? data.short[value] : value);

function shown(column, value) {
  if (isMissing(value)) return "";
  if (column.name === "started") return String(value).slice(0, 16).replace("T", " ");
  if (column.name === "duration_s") return durationText(value);
  if (column.name === "commit") return String(value).slice(0, 8);
  return column.numeric && typeof value !== "string" ? numberText(value) : String(short(value));
}

const LABELS = { id: "run", duration_s: "took" };
const label = (name) => LABELS[name] ?? name;

function element(tag, properties = {}, ...inner) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inner);
  return made;
}

// ---- The data

const data = JSON.parse(await unpacked("data"));
const columnOf = new Map(data.columns.map((column, index) => [column.name, index]));
const ids = data.rows.map((row) => row[columnOf.get("id")]);
const value = (run, name) => data.rows[run][columnOf.get(name)];
const fields = data.columns.filter((column) => column.kind === "field" && !/^launcher(\.|$)/.test(column.name));
const results = data.columns.filter((column) => ["result", "metric"].includes(column.kind) && column.numeric);
if (columnOf.has("duration_s")) results.push(data.columns[columnOf.get("duration_s")]);

let chosen = ids.map((_, run) => run); // the runs that the table's filters leave

// ---- The table

function rendered(column) {
  if (column.name === "id") {
    return (id, kind, row, place) => {
      const run = data.runs[place.row];
      const text = `${run.config} ${run.end}`;
      if (kind === "display") return `<a href="#run=${encodeURIComponent(id)}" title="${escaped(id)}">${escaped(text)}</a>`;
      return kind === "filter" ? escaped(`${text} ${id}`) : id;
    };
  }
  if (column.name === "status") {
    return (status, kind) =>
      kind === "display" ? `<i class="dot s-${escaped(status || "NONE")}"></i>${escaped(status || "no run")}` : escaped(status || "no run");
  }
  return (cell, kind) => {
    if (kind === "sort" || kind === "type") return cell;
    const text = shown(column, cell);
    if (kind === "filter") return escaped(isMissing(cell) ? "" : cell);
    return text === String(cell) && text.length < 30 ? escaped(text) : `<span title="${escaped(cell ?? "")}">${escaped(text)}</span>`;
  };
}

// Numbers by their value, texts after them by their letters; what is missing is last, whichever way.
function compared(one, other, down) {
  const gone = [one, other].map((v) => isMissing(v) || v === "nan" || v === "\0");
  if (gone[0] || gone[1]) return gone[0] - gone[1];
  const numbers = [one, other].map((v) => (v === "inf" ? Infinity : v === "-inf" ? -Infinity : v === true ? 1 : Number(v)));
  const found = numbers.some(Number.isNaN)
    ? Number.isNaN(numbers[0]) - Number.isNaN(numbers[1]) || String(one).localeCompare(String(other))
    : numbers[0] - numbers[1];
  return down ? -found : found;
}

function makeTable(DataTable) {
  const order = DataTable.ext.type.order;
  order["heyhi-asc"] = (one, other) => compared(one, other, false);
  order["heyhi-desc"] = (one, other) => compared(one, other, true);
  const table = new DataTable("#table", {
    data: data.rows,
    columns: data.columns.map((column, index) => ({
      data: index,
      title: escaped(label(column.name)).replaceAll(".", ".<wbr>"),
      searchBuilderTitle: escaped(label(column.name)),
      type: "heyhi",
      searchBuilderType: column.numeric ? "num" : "string",
      visible: column.shown,
      className: column.numeric ? "number" : "",
      render: rendered(column),
    })),
    order: [],
    autoWidth: false,
    deferRender: true,
    pageLength: 25,
    layout: {
      topStart: {
        buttons: [
          { extend: "searchBuilder", text: "Conditions", config: { depthLimit: 1 } },
          { extend: "colvis", text: "Columns" },
          { extend: "csv", text: "CSV", title: document.title, exportOptions: { orthogonal: "sort" } },
        ],
      },
      topEnd: { search: { text: "", placeholder: "Filter" } },
      bottomStart: { pageLength: { menu: [25, 100, 1000] }, info: {} },
    },
    language: { info: "_START_ to _END_ of _TOTAL_ runs", infoEmpty: "no runs", infoFiltered: "(of _MAX_)",
      lengthMenu: "_MENU_ a page", emptyTable: "No runs.", zeroRecords: "No run is like this.",
      searchBuilder: { button: { 0: "Conditions", _: "Conditions (%d)" }, title: { 0: "Runs with", _: "Runs with" } } },
  });
  table.on("click", "tbody tr", (event) => {
    const run = table.row(event.currentTarget).index();
    if (run !== undefined && !event.target.closest("a") && !String(getSelection())) open(run);
  });
  table.on("draw", () => {
    const now = table.rows({ search: "applied", order: "index" }).indexes().toArray();
    if (now.join() === chosen.join()) return;
    chosen = now;
    drawCharts();
  });
  return table;
}

function connectFilters(table) {
  const chips = [...document.querySelectorAll(".chip")];
  for (const chip of chips) {
    const name = "task" in chip.dataset ? "task" : "status";
    const sought = chip.dataset[name] || "no run";
    chip.onclick = () => {
      const isOn = chip.getAttribute("aria-pressed") !== "true";
      for (const other of chips) if (name in other.dataset) other.setAttribute("aria-pressed", String(isOn && other === chip));
      table.column(columnOf.get(name)).search(isOn ? (cell) => cell === escaped(sought) : "").draw();
    };
  }
  const search = (text) => {
    table.search(text.slice(0, 200), { smart: false, caseInsensitive: false }).draw();
    at("runs").scrollIntoView();
  };
  for (const button of document.querySelectorAll("[data-search]")) button.onclick = () => search(escaped(button.dataset.search));
  for (const box of document.querySelectorAll("[data-config]")) box.onclick = () => search(escaped(box.dataset.config));
}

// ---- A run

const dialog = at("run");

function open(run) {
  const hash = `#run=${encodeURIComponent(ids[run])}`;
  if (location.hash === hash) show(run);
  else location.hash = hash;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch { // an id with a %, typed as it is
    return text;
  }
}

function follow() {
  const id = location.hash.startsWith("#run=") ? decoded(location.hash.slice(5)) : null;
  const run = id === null ? -1 : ids.indexOf(id);
  if (run >= 0) show(run);
  else if (dialog.open) dialog.close();
}

const plain = (one) => (one === null || one === undefined ? "unset" : typeof one === "number" ? numberText(one) : String(one));

function tableOf(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, ...cells]) =>
    element("tr", {}, element("th", { scope: "row", textContent: name }), ...cells.map((cell) =>
      (cell instanceof Node ? cell : element("td", { textContent: cell })))))));
}

function parts(run) {
  const known = data.runs[run];
  const common = data.common[known.task] ?? {};
  const whole = Object.entries({ ...common, ...known.differs }).filter(([, one]) => one !== null);
  const differs = Object.entries(known.differs);
  const text = (body) => element("pre", {}, element("code", { textContent: body }));
  return [
    ["What is wrong", value(run, "problem") && element("p", { textContent: value(run, "problem") })],
    ["Differs from the commonest config", differs.length && tableOf(differs.map(([name, one]) =>
      [name, plain(one), element("td", { className: "usual", textContent: name in common ? `mostly ${plain(common[name])}` : "" })]))],
    ["Result", Object.keys(known.result).length && tableOf(Object.entries(known.result).map(([name, one]) => [name, plain(one)]))],
    ["Error", known.error && text(known.error)],
    ["Log, its end", known.log && text(known.log)],
    ["Log", known.cut && element("p", { className: "small", textContent: "Not in this page, for its size: see run.log in the folder." })],
    ["Provenance", known.about.length && tableOf(known.about)],
    ["Config", whole.length && element("details", {}, element("summary", { textContent: `all ${whole.length} values` }),
      tableOf(whole.sort().map(([name, one]) => [name, plain(one)])))],
  ].filter(([, body]) => body).map(([title, body]) => element("section", {}, element("h3", { textContent: title }), body));
}

function show(run) {
  const known = data.runs[run];
  dialog.replaceChildren(at("run-template").content.cloneNode(true));
  const status = value(run, "status") || "no run";
  dialog.querySelector("h2").append(element("i", { className: `dot s-${value(run, "status") || "NONE"}` }), ` ${known.name}`);
  dialog.querySelector(".id").textContent = [status, value(run, "duration_s") == null ? "" : durationText(value(run, "duration_s")),
    value(run, "started") ? String(value(run, "started")).slice(0, 16).replace("T", " ") : "", value(run, "host") ?? "", value(run, "job") ?? "",
  ].filter(Boolean).join(" · ");
  dialog.querySelector(".folder code").textContent = known.folder;
  const copy = dialog.querySelector(".copy");
  copy.onclick = async () => {
    await copied(known.folder);
    copy.textContent = "Copied";
  };
  const order = theTable.rows({ search: "applied" }).indexes().toArray();
  for (const button of dialog.querySelectorAll("[data-step]")) {
    const next = order[order.indexOf(run) + Number(button.dataset.step)];
    button.disabled = next === undefined;
    button.onclick = () => open(next);
  }
  dialog.querySelector(".parts").append(...parts(run));
  if (!dialog.open) dialog.showModal();
  dialog.focus();
  dialog.scrollTop = 0;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page from a file may not, in some browsers
    const area = element("textarea", { value: text });
    dialog.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// ---- Charts

const PALETTE = ["#3b82c4", "#e07b39", "#2f9e77", "#c45aa0", "#b59b00", "#52b6d9", "#8a63d2", "#d1495b", "#7c8a99", "#7aa63c"];
const SCALE = [[0, "#3b6fb6"], [0.25, "#2aa198"], [0.5, "#8fbf4d"], [0.75, "#e3b23c"], [1, "#d95f3b"]];
const MOST_CURVES = 50, MOST_CHARTS = 12, MOST_TEXTS = 20, MOST_POINTS = 2000;

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function layout(more = {}) {
  const axis = { gridcolor: style("line"), linecolor: style("line"), zerolinecolor: style("line"), automargin: true };
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 56, r: 16, t: 12, b: 44 },
    font: { family: "system-ui, sans-serif", size: 12, color: style("text") },
    hoverlabel: { bgcolor: style("panel"), bordercolor: style("line"), font: { color: style("text") }, align: "left" },
    hovermode: "closest", showlegend: false, legend: { font: { size: 11 } },
    ...rest, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
  };
}

// How runs are coloured by a field: a colour for each, and the groups in order.
function coloured(runs, name) {
  if (!name) return { bar: [], colour: (run, index) => PALETTE[index % PALETTE.length], group: (run) => data.runs[run].name };
  const column = data.columns[columnOf.get(name)];
  const group = (run) => (isMissing(value(run, name)) ? "unset" : shown(column, value(run, name)));
  const groups = [...new Set([...runs].sort((one, other) => compared(value(one, name), value(other, name), false)).map(group))];
  const place = new Map(groups.map((one, index) => [one, index]));
  const colour = (run) => {
    if (name === "status") return style((value(run, name) || "unknown").toLowerCase().replace("_", "-"));
    const index = place.get(group(run));
    return column.numeric && groups.length > 2 ? mixed(index / (groups.length - 1)) : PALETTE[index % PALETTE.length];
  };
  const isScale = column.numeric && groups.length > 25;
  return { colour, group, groups, bar: isScale ? colourBar(name, groups) : [] };
}

// A trace that shows nothing but which colour is which value.
function colourBar(name, groups) {
  const places = [0, 0.25, 0.5, 0.75, 1];
  return [{
    type: "scatter", mode: "markers", x: [null], y: [null], showlegend: false, hoverinfo: "skip",
    marker: { color: [0], cmin: 0, cmax: 1, colorscale: SCALE, showscale: true, colorbar: {
      title: { text: escaped(name) }, thickness: 12, outlinewidth: 0, tickvals: places,
      ticktext: places.map((part) => escaped(groups[Math.round(part * (groups.length - 1))])) } },
  }];
}

function mixed(part) {
  const upper = SCALE.findIndex(([stop]) => stop >= part);
  if (upper <= 0) return SCALE[0][1];
  const [[from, one], [to, other]] = [SCALE[upper - 1], SCALE[upper]];
  const share = (part - from) / (to - from);
  const channel = (text, i) => parseInt(text.slice(1 + 2 * i, 3 + 2 * i), 16);
  return `rgb(${[0, 1, 2].map((i) => Math.round(channel(one, i) * (1 - share) + channel(other, i) * share)).join()})`;
}

const wholeTicks = (x) =>
  (x.every(Number.isInteger) && x.length && Math.max(...new Set(x)) - Math.min(...new Set(x)) <= 12 ? { dtick: 1 } : {});

function drawChart(place, traces, more) {
  const isNew = !place.data;
  Plotly.react(place, traces, layout(more), { displayModeBar: false, responsive: true });
  if (isNew) place.on("plotly_click", ({ points: [point] }) => point.data.meta && open(point.data.meta[point.pointIndex] ?? point.data.meta[0]));
}

// Whether some value has no neighbour that a line could lead to: between NaNs.
const isAlone = (y) => y.some((one, index) => one !== null && (y[index - 1] ?? y[index + 1] ?? null) === null);

function drawCurves() {
  const metric = at("curve-metric").value;
  const fitting = chosen.filter((run) => data.curves[run]?.[metric]);
  const latest = (run) => value(run, "started") ?? "";
  const some = new Set([...fitting].sort((one, other) => (latest(one) < latest(other) ? 1 : -1)).slice(0, MOST_CURVES));
  const runs = fitting.filter((run) => some.has(run)); // in the order of the batch
  const { colour, group, groups, bar } = coloured(runs, at("curve-colour").value);
  const seen = new Set();
  const several = runs.length > 1;
  const traces = runs.map((run, index) => {
    const { x, y } = data.curves[run][metric];
    const name = group(run);
    const isNew = !seen.has(name);
    seen.add(name);
    return {
      type: "scatter", mode: x.length < 30 || isAlone(y) ? "lines+markers" : "lines", x, y, name: escaped(name), legendgroup: escaped(name),
      showlegend: several && isNew && (groups ?? runs).length <= 25, connectgaps: false,
      line: { color: colour(run, index), width: 1.6 }, marker: { size: 4 },
      hovertemplate: `%{y:.5~g} at %{x}<br>${escaped(data.runs[run].name)}<extra></extra>`,
      meta: [run],
    };
  });
  const overs = [...new Set(runs.map((run) => data.curves[run][metric].over))];
  drawChart(at("curve-chart"), [...traces, ...bar], {
    showlegend: several, xaxis: { title: { text: escaped(overs.join(" or ")) }, ...wholeTicks(traces.flatMap(({ x }) => x)) },
    yaxis: { title: { text: escaped(metric) }, type: at("curve-log").checked ? "log" : "linear" },
    legend: { font: { size: 11 }, ...(at("curve-chart").clientWidth < 700 ? { orientation: "h", y: -0.2 } : {}) },
  });
  const drawn = runs.length === 1 ? "1 run" : `${runs.length} runs`;
  at("curve-note").textContent = [
    `${drawn} drawn, at most 200 points each.`,
    fitting.length > runs.length ? `They are the latest of ${fitting.length}; filter the table to see others.` : "",
    Object.keys(data.curves).length < data.with_curves
      ? `Of ${data.with_curves} runs with metrics this page has the ${Object.keys(data.curves).length} latest.` : "",
  ].join(" ");
}

const numeric = (one) => (one === "inf" ? Infinity : one === "-inf" ? -Infinity : isMissing(one) ? NaN : Number(one));

// Mean and standard error of the results at each place.
function meanTrace(points) {
  const places = new Map();
  for (const { place, y } of points) places.set(place, [...(places.get(place) ?? []), y]);
  const sorted = [...places.keys()].sort((one, other) => one - other);
  const means = sorted.map((place) => places.get(place).reduce((sum, y) => sum + y, 0) / places.get(place).length);
  const errors = sorted.map((place, index) => {
    const values = places.get(place), count = values.length;
    return count > 1 ? Math.sqrt(values.reduce((sum, y) => sum + (y - means[index]) ** 2, 0) / (count - 1) / count) : 0;
  });
  return {
    type: "scatter", x: sorted, y: means, error_y: { type: "data", array: errors, thickness: 1.5, width: 5, color: style("text") },
    marker: { symbol: "line-ew", size: 16, line: { width: 2, color: style("text") } }, line: { color: style("soft"), width: 1 },
    customdata: sorted.map((place, index) => `mean ${numberText(means[index])} ± ${numberText(errors[index])}, ${places.get(place).length} runs`),
    hovertemplate: "%{customdata}<extra></extra>", showlegend: false,
  };
}

function fieldChart(field, result, colouredBy) {
  const runs = chosen.filter((run) => field.tasks.includes(data.runs[run].task)
    && !(field.inside && isMissing(value(run, field.name))) && Number.isFinite(numeric(value(run, result.name))));
  const all = runs.map((run) => value(run, field.name));
  if (new Set(all).size < 2) return null;
  const texts = field.numeric ? null : [...new Set(all)].sort((a, b) => compared(a, b, false));
  const placed = (run) => (texts ? texts.indexOf(value(run, field.name)) : numeric(value(run, field.name)));
  const points = runs.map((run) => ({ run, place: placed(run), y: numeric(value(run, result.name)) })).filter(({ place }) => Number.isFinite(place));
  const places = [...new Set(points.map(({ place }) => place))];
  if (places.length < 2) return null;
  if (texts && texts.length > MOST_TEXTS) return "too many";
  const spansDecades = !texts && Math.min(...places) > 0 && Math.max(...places) / Math.min(...places) >= 50;
  const { colour } = coloured(runs, colouredBy);
  const every = Math.ceil(points.length / MOST_POINTS);
  const few = points.filter((_, index) => index % every === 0);
  const dots = {
    type: "scatter", mode: "markers", y: few.map(({ y }) => y),
    x: few.map(({ place }, index) => (texts ? place + (((index * 0.618) % 1) - 0.5) * 0.3 : place)),
    marker: { size: 7, opacity: few.length > 200 ? 0.4 : 0.7, color: few.map(({ run }) => (colouredBy ? colour(run) : PALETTE[0])) },
    customdata: few.map(({ run }) => escaped(data.runs[run].name)), meta: few.map(({ run }) => run),
    hovertemplate: "%{y:.5~g}<br>%{customdata}<extra></extra>", showlegend: false,
  };
  const mean = meanTrace(points);
  mean.mode = texts ? "markers" : "lines+markers";
  const isWhole = places.length <= 8;
  const ticks = texts
    ? { tickvals: texts.map((_, index) => index), ticktext: texts.map((text) => wrapped(isMissing(text) ? "unset" : short(text))), range: [-0.6, texts.length - 0.4], tickangle: texts.length <= 5 ? 0 : "auto" }
    : isWhole ? { tickvals: places, ticktext: places.map(numberText) } : {};
  return { traces: points.length > places.length ? [dots, mean] : [dots], ticks, spansDecades };
}

// A tick in a few short lines.
function wrapped(text, width = 15) {
  const pieces = String(text).length > 3 * width ? `${String(text).slice(0, width)}…${String(text).slice(-2 * width + 4)}` : String(text);
  const lines = [""];
  for (const piece of pieces.split(/(?<=[ /._-])/)) {
    if (lines.at(-1) && (lines.at(-1) + piece).length > width) lines.push("");
    lines[lines.length - 1] += piece;
  }
  return lines.slice(0, 4).map(escaped).join("<br>");
}

function drawFields() {
  const result = data.columns[columnOf.get(at("field-result").value)];
  const left = [];
  let number = 0;
  for (const field of fields) {
    const made = fieldChart(field, result, at("field-colour").value);
    if (!made) continue;
    if (made === "too many" || number >= MOST_CHARTS) {
      left.push(field.name);
      continue;
    }
    const card = at("field-charts").children[number] ?? at("field-charts").appendChild(element("div", {}, element("div", { className: "chart" })));
    number += 1;
    drawChart(card.firstChild, made.traces, {
      xaxis: { title: { text: wrapped(field.name, 34) }, type: made.spansDecades ? "log" : "linear", exponentformat: "power", zeroline: false, ...made.ticks },
      yaxis: { title: { text: escaped(label(result.name)) } },
    });
  }
  while (at("field-charts").children.length > number) {
    Plotly.purge(at("field-charts").lastChild.firstChild);
    at("field-charts").lastChild.remove();
  }
  const without = chosen.map((run) => value(run, result.name)).filter((one) => !isMissing(one) && !Number.isFinite(numeric(one))).length;
  at("field-note").textContent = [
    number ? "A dot is a run; bars are the mean over all other fields, with its standard error." : "",
    without ? `Not drawn: ${without} ${without === 1 ? "run" : "runs"} in which ${label(result.name)} is no finite number.` : "",
    left.length ? `Without a chart here, for want of room: ${left.slice(0, 20).join(", ")}${left.length > 20 ? ", ..." : ""}.` : "",
  ].join(" ");
}

let Plotly = null;

function drawCharts() {
  if (!Plotly) return;
  if (!at("curves").hidden) drawCurves();
  if (!at("fields").hidden) drawFields();
}

function fill(select, names, first) {
  at(select).append(...(first === undefined ? [] : [new Option(first, "")]), ...names.map((name) => new Option(label(name), name)));
  at(select).onchange = drawCharts;
}

// The result with the most values: what experiments are made for, as a rule.
function telling(columns) {
  const distinct = ({ name }) => new Set(data.rows.map((row) => row[columnOf.get(name)]).filter((one) => !isMissing(one))).size;
  const counts = columns.map((column) => distinct(column) - (column.kind === "result" ? 0 : columns.length + data.rows.length));
  return columns[counts.indexOf(Math.max(...counts))]?.name;
}

function prepareCharts() {
  const counts = new Map();
  for (const curves of Object.values(data.curves)) for (const name of Object.keys(curves)) counts.set(name, (counts.get(name) ?? 0) + 1);
  const metrics = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one) || /loss/.test(other) - /loss/.test(one));
  const groups = ["status", ...fields.filter((field) => field.tasks.length).map((field) => field.name)];
  at("curves").hidden = !metrics.length;
  fill("curve-metric", metrics);
  fill("curve-colour", groups, "run");
  if (Object.keys(data.curves).length > PALETTE.length) at("curve-colour").value = groups[1] ?? "";
  at("curve-log").onchange = drawCharts;
  at("fields").hidden = !fields.length || !results.some((column) => data.rows.filter((row) => !isMissing(row[columnOf.get(column.name)])).length > 1);
  fill("field-result", results.map((column) => column.name));
  at("field-result").value = telling(results);
  fill("field-colour", groups, "nothing");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
}

// ---- The graph

function connectGraph() {
  const edges = [...document.querySelectorAll("svg .edge")];
  for (const box of document.querySelectorAll("svg .box")) {
    const light = (isLit) => () => {
      for (const edge of edges) {
        if ([edge.dataset.one, edge.dataset.other].includes(box.dataset.box)) edge.classList.toggle("lit", isLit);
      }
    };
    box.addEventListener("mouseenter", light(true));
    box.addEventListener("mouseleave", light(false));
  }
}

// ---- All of it

document.head.prepend(element("style", { textContent: await unpacked("datatables-style") }));
const darkness = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.classList.toggle("dark", darkness.matches);
darkness.addEventListener("change", theme);
theme();

const theTable = makeTable((await library("datatables")).default);
connectFilters(theTable);
connectGraph();
dialog.addEventListener("close", () => {
  if (!location.hash.startsWith("#run=")) return;
  try {
    history.replaceState(null, "", location.href.split("#")[0]);
  } catch {
    location.hash = "-"; // inside another page, where history is not ours
  }
});
addEventListener("hashchange", follow);
follow();
prepareCharts();
if (!at("curves").hidden || !at("fields").hidden) {
  const found = await library("plotly");
  Plotly = found.default ?? globalThis.Plotly;
  drawCharts();
}
document.documentElement.dataset.ready = "yes"; // tests wait for this
