"use strict";
// Draws the page from the JSON in it. All that comes from outside goes into the page as text, never as markup.
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const TIP = document.getElementById("tip");
  const PALETTE = 7; // hues besides the neutral one of the method that others are compared with
  const MOST_BANDS = 5; // with more lines than that, only the best and the method compared with show theirs unasked
  const SINGLE = 1.5; // budgets of a single run that a method may cost to count as one
  const LOWER = ["rmse", "mae", "log_loss", "bits_per_character"]; // metrics of which less is better
  const NARROW = 620; // px, as in the style

  // ---- elements -------------------------------------------------------------------------------

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") node.addEventListener(name, value);
      else if (name === "text") node.textContent = value;
      else node.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined && child !== false) node.append(child);
    }
    return node;
  }
  const tag = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
  const draw = (name, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

  const canvas = document.createElement("canvas").getContext("2d");
  function textWidth(text, size = 12, weight = 400) {
    canvas.font = `${weight} ${size}px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif`;
    return canvas.measureText(text).width;
  }
  function shorten(text, width, size = 12) {
    if (textWidth(text, size) <= width) return text;
    let kept = text;
    while (kept.length > 1 && textWidth(kept + "…", size) > width) kept = kept.slice(0, -1);
    return kept + "…";
  }

  // ---- numbers --------------------------------------------------------------------------------

  const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
  const minus = (text) => text.replace(/-/g, "−");
  const whole = (value) => value.toLocaleString("en-US");
  const fixed = (value, digits) => (known(value) ? minus(value.toFixed(digits)).replace(/^−(0\.?0*)$/, "$1") : "–");
  const signed = (value, digits) => (known(value) ? (value > 0 ? "+" : "") + fixed(value, digits) : "–");
  function short(value, digits = 3) {
    if (!known(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
      const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
      return minus(`${Number(mantissa)}e${Number(exponent)}`);
    }
    return minus(String(Number(value.toPrecision(digits))));
  }
  const percent = (share) => (known(share) ? minus(`${Number((100 * share).toPrecision(3))}`) + " %" : "–");
  function duration(seconds) {
    if (!known(seconds)) return "–";
    if (seconds < 90) return `${short(seconds)} s`;
    if (seconds < 5400) return `${short(seconds / 60)} min`;
    return `${whole(Number((seconds / 3600).toPrecision(3)))} h`;
  }
  function flops(value) {
    if (!known(value)) return "–";
    const units = ["", "k", "M", "G", "T", "P", "E", "Z"];
    const step = value > 0 ? Math.max(0, Math.min(units.length - 1, Math.floor(Math.log10(value) / 3))) : 0;
    return `${short(value / 1000 ** step)} ${units[step]}FLOP`;
  }
  const plural = (count, one, many) => `${whole(count)} ${count === 1 ? one : many || one + "s"}`;
  const between = (interval, digits = 3) =>
    known(interval.low) && known(interval.high) ? `${fixed(interval.low, digits)} to ${fixed(interval.high, digits)}` : "";
  const extent = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) if (known(value)) { if (value < low) low = value; if (value > high) high = value; }
    return low <= high ? [low, high] : null;
  };
  // The values, and as much of the intervals as leaves room for them: a few runs may have wide ones.
  function roomy(values, bounds, share) {
    const inner = extent(values), outer = extent([...values, ...bounds]);
    if (!inner) return outer;
    const room = share * (inner[1] - inner[0] || Math.abs(inner[0]) || 1);
    return [Math.max(outer[0], inner[0] - room), Math.min(outer[1], inner[1] + room)];
  }
  const clamped = (place) => (value) => place(Math.min(place.high, Math.max(place.low, value)));
  const mean = (values) => {
    const kept = values.filter(known);
    return kept.length ? kept.reduce((sum, value) => sum + value, 0) / kept.length : null;
  };

  // ---- scales ---------------------------------------------------------------------------------

  function linearTicks(low, high, count) {
    const rough = (high - low) / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
    const ticks = [];
    for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number++) ticks.push(Number((number * step).toPrecision(10)));
    return ticks;
  }
  // Decades, with 2 and 5 where there are few; the most that fit, but two at least.
  function logTicks(low, high, count) {
    const between = (parts, every) => {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
        if (power % every) continue;
        for (const part of parts) {
          const tick = Number((part * 10 ** power).toPrecision(6));
          if (tick >= low * 0.9999 && tick <= high * 1.0001) ticks.push(tick);
        }
      }
      return ticks;
    };
    const choices = [[[1, 2, 5], 1], [[1, 3], 1], [[1], 1], [[1], 2], [[1], 3], [[1], 4], [[1], 6]].map((one) => between(...one));
    const enough = choices.filter((ticks) => ticks.length >= 2);
    return enough.find((ticks) => ticks.length <= count + 1) || enough[enough.length - 1] || [low, high].map((one) => Number(one.toPrecision(2)));
  }
  function scale(low, high, from, to, logarithmic) {
    const turn = logarithmic ? Math.log : (value) => value;
    const [a, b] = [turn(low), turn(high)];
    const place = (value) => from + ((turn(value) - a) / (b - a || 1)) * (to - from);
    place.inverse = (pixel) => {
      const value = a + ((pixel - from) / (to - from || 1)) * (b - a);
      return logarithmic ? Math.exp(value) : value;
    };
    place.low = low;
    place.high = high;
    place.ticks = (count) => (logarithmic ? logTicks(low, high, count) : linearTicks(low, high, count));
    return place;
  }
  const path = (points) => points.map(([x, y], number) => `${number ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  function stairs(points) {
    const corners = [];
    points.forEach(([x, y], number) => {
      if (number) corners.push([x, points[number - 1][1]]);
      corners.push([x, y]);
    });
    return corners;
  }
  // Moves labels apart that would overlap, as little as possible, within [top, bottom].
  function spread(places, gap, top, bottom) {
    const order = places.map((y, index) => ({ y, index })).sort((a, b) => a.y - b.y);
    for (const [number, one] of order.entries()) one.y = Math.max(one.y, number ? order[number - 1].y + gap : top);
    for (let number = order.length - 1; number >= 0; number--) {
      const limit = number === order.length - 1 ? bottom : order[number + 1].y - gap;
      order[number].y = Math.min(order[number].y, limit);
    }
    const moved = [];
    for (const one of order) moved[one.index] = one.y;
    return moved;
  }

  // ---- methods have one look throughout -------------------------------------------------------

  const looks = new Map();
  function look(method) {
    return looks.get(method) || { hue: "m0", dash: "" };
  }
  function assignLooks(methods, against) {
    const others = methods.filter((method) => method !== against);
    if (against !== null) looks.set(against, { hue: "m0", dash: "" });
    others.forEach((method, number) => {
      looks.set(method, { hue: `m${1 + (number % PALETTE)}`, dash: ["", "d1", "d2"][Math.floor(number / PALETTE) % 3] });
    });
  }
  function key(method) {
    const { hue, dash } = look(method);
    return draw("svg", { class: `key ${hue}`, width: 18, height: 8, "aria-hidden": "true" },
      draw("line", { class: `line ink ${dash}`, x1: 1, x2: 17, y1: 4, y2: 4 }));
  }
  function emphasize(method) {
    for (const node of document.querySelectorAll("[data-method]")) {
      node.classList.toggle("faded", method !== null && node.dataset.method !== method);
      node.classList.toggle("raised", method !== null && node.dataset.method === method);
    }
  }
  const emphasis = (method) => ({ pointerenter: () => emphasize(method), pointerleave: () => emphasize(null) });
  // For what the keyboard reaches; parts of pictures would be reached by it if they listened to the focus.
  const emphasisByFocus = (method) => ({ focus: () => emphasize(method), blur: () => emphasize(null) });

  // ---- what is said beside the pointer --------------------------------------------------------

  function tell(x, y, head, rows, foot) {
    TIP.replaceChildren(
      tag("div", { class: "head", text: head }),
      tag("table", {}, tag("tbody", {}, rows.map((row) =>
        tag("tr", {}, tag("td", {}, row.method ? key(row.method) : null, row.method ? " " : null, row.name), tag("td", { text: row.value }))))),
      foot ? tag("div", { class: "note", text: foot }) : "");
    TIP.hidden = false;
    const box = TIP.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth - 8 ? x - 16 - box.width : x + 16;
    TIP.style.left = `${Math.max(8, Math.min(left, innerWidth - box.width - 8))}px`;
    TIP.style.top = `${Math.max(8, Math.min(y - box.height / 2, innerHeight - box.height - 8))}px`;
  }
  const hush = () => { TIP.hidden = true; };
  addEventListener("scroll", hush, { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });

  // Pointer, touch and arrow keys choose one of `count` places, `across` of them beside each other where they are a table; `show` gets its number, or null.
  function browse(node, count, nearest, show, anchor, across = null) {
    let chosen = null;
    const set = (number, x, y) => { chosen = number; show(number, x, y); };
    const follow = (event) => {
      const number = nearest(event);
      if (number !== null) set(number, event.clientX, event.clientY);
    };
    node.addEventListener("pointermove", follow);
    node.addEventListener("pointerdown", follow);
    node.addEventListener("pointerleave", () => { chosen = null; show(null); });
    node.addEventListener("blur", () => show(null));
    node.addEventListener("keydown", (event) => {
      const last = count - 1;
      const moves = { ArrowLeft: (chosen ?? 0) - 1, ArrowRight: (chosen ?? -1) + 1, Home: 0, End: last, PageUp: (chosen ?? 0) - 10, PageDown: (chosen ?? 0) + 10 };
      if (across) Object.assign(moves, { ArrowUp: (chosen ?? 0) - across, ArrowDown: chosen === null ? 0 : chosen + across });
      if (event.key === "Escape") { chosen = null; show(null); return; }
      if (!(event.key in moves)) return;
      event.preventDefault();
      const vertical = event.key === "ArrowUp" || event.key === "ArrowDown";
      const number = vertical && (moves[event.key] < 0 || moves[event.key] > last) ? chosen ?? 0 : Math.max(0, Math.min(last, moves[event.key]));
      const box = node.getBoundingClientRect(), [x, y] = anchor(number);
      set(number, box.left + x, box.top + y);
    });
  }

  // ---- figures as files -----------------------------------------------------------------------

  // What the style gives to parts of a picture, and what they have without it.
  const GIVEN = { fill: "rgb(0, 0, 0)", "fill-opacity": "1", stroke: "none", "stroke-width": "1px", "stroke-dasharray": "none", "stroke-linecap": "butt", "stroke-linejoin": "miter", opacity: "1", "font-weight": "400", "paint-order": "normal", "text-anchor": "start", visibility: "visible" };
  // A picture that answers to keys: screen readers hand them on.
  const KEYED = { role: "application", "aria-roledescription": "chart" };
  const MARGIN = 12; // px around a picture in a file
  // A copy that looks the same without the style of this page.
  function unstyled(picture) {
    const copy = picture.cloneNode(true);
    const [nodes, copies] = [picture, copy].map((one) => [one, ...one.querySelectorAll("*")]);
    nodes.forEach((node, number) => {
      const own = copies[number], style = getComputedStyle(node);
      for (const [name, usual] of Object.entries(GIVEN)) {
        const value = style.getPropertyValue(name);
        if (value !== usual || own.hasAttribute(name)) own.setAttribute(name, value);
      }
      if (node.localName === "text") own.setAttribute("font-size", style.fontSize);
      for (const { name } of [...own.attributes]) if (name === "tabindex" || name.startsWith("data-")) own.removeAttribute(name);
    });
    for (const one of copy.querySelectorAll(".slice, .now")) one.remove(); // where the reader is now
    for (const one of [copy, ...copy.querySelectorAll("[class]")]) one.removeAttribute("class");
    return copy;
  }
  // The picture as the text of a file, on the colour of the page, and below it the legend, if it has one outside of itself.
  function asFile(picture, legend) {
    const width = Number(picture.getAttribute("width")), style = getComputedStyle(document.body);
    let height = Number(picture.getAttribute("height"));
    const inner = unstyled(picture), parts = [inner];
    const label = picture.getAttribute("aria-label");
    for (const name of [...Object.keys(KEYED), "aria-label"]) inner.removeAttribute(name);
    inner.setAttribute("overflow", "visible");
    let [x, y] = [0, height + 20];
    for (const item of legend ? legend.children : []) {
      const mark = item.querySelector("svg"), text = item.textContent, room = Number(mark.getAttribute("width")) + 6;
      const needed = room + textWidth(text) + 18;
      if (x && x + needed > width) { x = 0; y += 20; }
      const own = unstyled(mark);
      own.setAttribute("x", x);
      own.setAttribute("y", y - 4 - Number(mark.getAttribute("height")) / 2);
      parts.push(own, draw("text", { x: x + room, y, "font-size": 12, fill: style.color, text }));
      x += needed;
      height = y + 6;
    }
    const [wide, tall] = [width + 2 * MARGIN, height + 2 * MARGIN];
    const whole = draw("svg", { xmlns: "http://www.w3.org/2000/svg", width: wide, height: tall, viewBox: `${-MARGIN} ${-MARGIN} ${wide} ${tall}`, "font-family": style.fontFamily, role: "img", "aria-label": label },
      draw("rect", { x: -MARGIN, y: -MARGIN, width: wide, height: tall, fill: style.backgroundColor }), ...parts);
    return { text: new XMLSerializer().serializeToString(whole), width: wide, height: tall };
  }
  function download(blob, name) {
    const address = URL.createObjectURL(blob);
    tag("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }
  function save(picture, legend, name, form) {
    const { text, width, height } = asFile(picture, legend);
    const file = `${`${DATA.title} ${name}`.replace(/[^\w.-]+/g, "_").slice(0, 100)}.${form}`;
    const asVector = () => download(new Blob([text], { type: "image/svg+xml" }), file.replace(/png$/, "svg"));
    if (form === "svg") { asVector(); return; }
    const image = new Image();
    image.addEventListener("error", asVector); // a name in it that is no XML
    image.addEventListener("load", () => {
      const sheet = tag("canvas", { width: 2 * width, height: 2 * height });
      sheet.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
      sheet.toBlob((blob) => (blob ? download(blob, file) : asVector()), "image/png"); // none: it is too large
    });
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  }
  // Buttons that save the picture in `box` as it is now; `name` says what it is then, `label` at any time.
  function savers(box, name, legend = null, label = name()) {
    return tag("div", { class: "savers" }, tag("span", { "aria-hidden": "true", text: "save as" }), ["svg", "png"].map((form) => {
      const button = tag("button", { type: "button", "data-save": form, "aria-label": `save as ${form.toUpperCase()}: ${label}`, text: form.toUpperCase(),
        click: () => { const picture = box.querySelector("svg"); if (picture) save(picture, legend, name(), form); } });
      return button;
    }));
  }

  // ---- curves of methods over one axis --------------------------------------------------------

  /* options: series [{method, label, x, y, low, high, step, plain}], levels [{method, y, x, text}] (horizontal),
     xTitle, yTitle, logarithmic, formatX, formatY, height, label (of the picture), unit, descending, range, xRange */
  function curves(host, options) {
    const width = Math.max(200, Math.floor(host.clientWidth));
    const size = width < 420 ? 11 : 12;
    const height = options.height || (width < 420 ? 260 : 320);
    const drawn = options.series.filter((one) => one.x.length);
    const levels = options.levels || [];
    const xs = options.xRange || extent(drawn.flatMap((one) => one.x));
    const ys = options.range || roomy([...drawn.flatMap((one) => one.y), ...levels.map((one) => one.y)], drawn.flatMap((one) => [...(one.low || []), ...(one.high || [])]), 0.4);
    host.replaceChildren();
    if (!xs || !ys) { host.append(tag("p", { class: "empty", text: "Nothing to draw for what is chosen." })); return; }
    const named = [...drawn.map((one) => ({ method: one.method, label: one.label || one.method, y: one.y.findLast(known) })),
      ...levels.map((one) => ({ method: one.method, label: one.text || one.method, y: one.y }))].filter((one) => known(one.y));
    const room = 17;
    const labelled = options.labels !== false && named.length * (size + 3) <= height - 60;
    const widest = Math.min(width * 0.34, Math.max(0, ...named.map((one) => textWidth(one.label, size))) + 4);
    const pad = options.range ? 0 : 0.04 * (ys[1] - ys[0] || Math.abs(ys[0]) || 1);
    const y = scale(ys[0] - pad, ys[1] + pad, height - 40, 18, false);
    const yTicks = y.ticks(5);
    const formatY = options.formatY || ((value) => short(value));
    const left = 10 + Math.max(...yTicks.map((tick) => textWidth(formatY(tick), size)));
    const right = labelled ? widest + room + 10 : 8;
    const x = scale(xs[0], xs[1] === xs[0] ? xs[0] + 1 : xs[1], left, width - right, options.logarithmic);
    // What the picture says to those who cannot see it: its axes, and where each line ends.
    function inWordsOf() {
      const tellY = options.tellY || formatY, ordered = [...named].sort((a, b) => (options.descending ? b.y - a.y : a.y - b.y));
      return `${options.label}: ${options.yTitle}, against ${options.xTitle}, from ${(options.formatX || short)(xs[0])} to ${(options.formatX || short)(xs[1])}. At the end ${ordered.map((one) => `${one.label} ${tellY(one.y)}`).join(", ")}. Arrow keys tell the values along the way.`;
    }
    const picture = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, ...KEYED, "aria-label": inWordsOf() });
    const end = width - right;
    for (const tick of yTicks) {
      picture.append(draw("line", { class: "grid", x1: left, x2: end, y1: y(tick), y2: y(tick) }),
        draw("text", { class: "soft", x: left - 7, y: y(tick) + 4, "text-anchor": "end", text: formatY(tick) }));
    }
    const formatX = options.formatX || ((value) => short(value));
    let taken = -Infinity;
    const xTicks = options.xTicks || x.ticks(Math.max(2, Math.floor((end - left) / 70)));
    for (const tick of xTicks) {
      const text = formatX(tick), half = textWidth(text, size) / 2;
      picture.append(draw("line", { class: "axis", x1: x(tick), x2: x(tick), y1: height - 40, y2: height - 36 }));
      if (x(tick) - half < taken + 6) continue;
      taken = x(tick) + half;
      picture.append(draw("text", { class: "soft", x: x(tick), y: height - 23, "text-anchor": "middle", text }));
    }
    picture.append(draw("line", { class: "axis", x1: left, x2: end, y1: height - 40, y2: height - 40 }),
      draw("text", { class: "soft", x: (left + end) / 2, y: height - 5, "text-anchor": "middle", text: options.xTitle }),
      draw("text", { class: "soft", x: 0, y: 8, text: options.yTitle }));

    const quiet = (method) => drawn.length > MOST_BANDS && method !== BOARD.methods[0] && method !== BOARD.against;
    for (const one of drawn) {
      if (!one.low || !one.high) continue;
      const inside = one.x.map((_, index) => index).filter((index) => known(one.low[index]) && known(one.high[index]));
      const shape = (side) => { const points = inside.map((index) => [x(one.x[index]), clamped(y)(side[index])]); return one.step ? stairs(points) : points; };
      if (inside.length > 1) {
        picture.append(draw("path", { class: `band dye ${look(one.method).hue} ${quiet(one.method) ? "quiet" : ""}`, "data-method": one.method, d: path([...shape(one.high), ...shape(one.low).reverse()]) + "Z" }));
      }
    }
    for (const one of levels) {
      picture.append(draw("line", { class: `line ink ${look(one.method).hue} ${look(one.method).dash}`, "data-method": one.method, x1: left, x2: end, y1: y(one.y), y2: y(one.y) }));
      if (known(one.x)) picture.append(draw("circle", { class: `hollow ${look(one.method).hue}`, "data-method": one.method, cx: x(one.x), cy: y(one.y), r: 5 }));
    }
    for (const one of drawn) {
      const points = one.x.map((value, index) => [x(value), one.y[index]]).filter((point) => known(point[1])).map(([a, b]) => [a, y(b)]);
      const { hue, dash } = look(one.method);
      picture.append(draw("path", { class: `line ink ${hue} ${dash}`, "data-method": one.method, d: path(one.step ? stairs(points) : points) }));
      if (one.dots) for (const [a, b] of points) picture.append(draw("circle", { class: `dye ${hue}`, "data-method": one.method, cx: a, cy: b, r: 3 }));
    }
    if (labelled) {
      const places = spread(named.map((one) => y(one.y)), size + 3, 20, height - 42);
      named.forEach((one, index) => {
        const { hue, dash } = look(one.method);
        const text = shorten(one.label, widest, size);
        picture.append(draw("g", { "data-method": one.method, ...emphasis(one.method) },
          draw("line", { class: `line ink ${hue} ${dash}`, x1: end + 5, x2: end + 5 + room - 5, y1: places[index], y2: places[index] }),
          draw("text", { x: end + room + 5, y: places[index] + 4, text }, text === one.label ? null : draw("title", { text: one.label }))));
      });
    }
    const cross = draw("line", { class: "cross", y1: 14, y2: height - 40, visibility: "hidden" });
    picture.append(cross);
    host.append(picture);

    const grid = [...new Set(drawn.flatMap((one) => one.x))].sort((a, b) => a - b);
    const at = (one, place) => {
      let before = -1;
      while (before + 1 < one.x.length && one.x[before + 1] <= place + 1e-12) before++;
      if (before < 0) return null;
      // A method that has spent all of its budget stands still; a curve in x that has ended says no more.
      if (before === one.x.length - 1 || one.step || one.x[before] === place) return before === one.x.length - 1 && one.x[before] < place && !one.step ? null : one.y[before];
      const share = (place - one.x[before]) / (one.x[before + 1] - one.x[before]);
      return known(one.y[before]) && known(one.y[before + 1]) ? one.y[before] + share * (one.y[before + 1] - one.y[before]) : one.y[before];
    };
    const closest = (event) => {
      const pixel = event.clientX - picture.getBoundingClientRect().left;
      if (pixel < left - 12 || pixel > end + 12) return null;
      let best = 0;
      grid.forEach((value, index) => { if (Math.abs(x(value) - pixel) < Math.abs(x(grid[best]) - pixel)) best = index; });
      return best;
    };
    browse(picture, grid.length, closest, (number, px, py) => {
      cross.setAttribute("visibility", number === null ? "hidden" : "visible");
      if (number === null) { hush(); return; }
      const place = grid[number];
      cross.setAttribute("x1", x(place));
      cross.setAttribute("x2", x(place));
      const rows = [...drawn.map((one) => ({ method: one.method, name: one.label || one.method, size: at(one, place) })), ...levels.map((one) => ({ method: one.method, name: one.method, size: one.y }))]
        .filter((row) => known(row.size)).sort((a, b) => (options.descending ? b.size - a.size : a.size - b.size))
        .map((row) => ({ ...row, value: (options.tellY || formatY)(row.size) }));
      tell(px, py, (options.tellX || formatX)(place), rows);
    }, (number) => [x(grid[number]), 40]);
  }

  // ---- the page of a store --------------------------------------------------------------------

  const state = { budget: null, off: { method: new Set(), task: new Set() }, words: { method: "", task: "" }, sort: { column: "difference", down: false }, details: false, logarithmic: null, run: 0 };
  const redraws = [];
  const redraw = () => { emphasize(null); hush(); for (const one of redraws) one(); };

  const matches = (kind, name) => {
    const words = state.words[kind].toLowerCase().split(/[\s,]+/).filter(Boolean);
    return !words.length || words.some((word) => name.toLowerCase().includes(word));
  };
  const shown = (kind, name) => matches(kind, name) && !state.off[kind].has(name);
  const BOARD = DATA.board;
  const methods = () => BOARD.methods.filter((one) => shown("method", one));
  const tasks = () => BOARD.tasks.filter((one) => shown("task", one));
  const allTasks = () => tasks().length === BOARD.tasks.length;
  const budget = () => state.budget ?? BOARD.budgets[BOARD.budgets.length - 1];
  const atBudget = () => `${whole(budget())} updates`;

  function section(id, title, ...rest) {
    const node = tag("section", { id, "aria-labelledby": `${id}-title` }, tag("h2", { id: `${id}-title`, tabindex: -1, text: title }), ...rest);
    document.getElementById("page").append(node);
    return node;
  }
  function chart(host, className = "chart") {
    const node = tag("div", { class: className });
    host.append(node);
    return node;
  }

  function headline() {
    const { facts } = DATA;
    const page = document.getElementById("page");
    if (BOARD) document.body.prepend(tag("a", { class: "skip", href: "#scoreboard", text: "Skip to the scoreboard", click: (event) => { event.preventDefault(); document.getElementById("scoreboard-title").focus(); } }));
    page.append(tag("p", { class: "kicker", text: `rlagent scoreboard · ${DATA.title}` }));
    page.append(tag("h1", { text: finding() }));
    const more = dearer();
    if (more) page.append(more);
    if (BOARD) {
      const seeds = BOARD.seeds.least === BOARD.seeds.most ? plural(BOARD.seeds.most, "seed") : `${BOARD.seeds.least} to ${BOARD.seeds.most} seeds`;
      page.append(tag("p", { class: "lead" }, `${plural(BOARD.methods.length, "method")} on ${plural(BOARD.tasks.length, "task")}, ${seeds} each, ${BOARD.budgets.map(whole).join(", ")} updates. Compared with `, tag("b", { text: BOARD.against }), "; lower scores are better."));
    }
    const device = facts.versions.device;
    const rows = [["runs", whole(facts.finished)], ["failed", whole(facts.failed)], ["compute", flops(facts.flops)], ["time", duration(facts.seconds)], ["device", device ? device.join(", ") : "–"]];
    page.append(tag("dl", { class: "facts" }, rows.map(([name, value]) => tag("div", {}, tag("dt", { text: name }), tag("dd", { text: value })))));
    page.append(tag("details", {}, tag("summary", { text: "How to read this page" }),
      tag("p", { text: "The score is log(L / L0 + 0.05): L is the loss on test data of the weights that were selected on validation data, L0 that of the best constant predictor. Values are interquartile means over tasks and seeds; lines and bands are their 95 % bootstrap intervals. Better and worse mean that the 95 % interval of the paired difference excludes zero, unclear that it does not." }),
      tag("p", { text: "Cost is all compute that a method was billed for, evaluation and discarded trials included, in budgets of a single run. Regret is the distance to the best known score of the task. P(better) is the probability of a lower score than that of the method compared with, on a task drawn at random. Speed-up says how many times the compute `reference`, a cosine, needs for the same score; it is read from the best of the reference's means up to a budget, so that it is below 1 for a method that is just as good." })));
  }
  function finding() {
    if (!BOARD) return "No run has finished";
    const row = headlined();
    if (!row) return `${plural(BOARD.methods.length, "method")} on ${plural(BOARD.tasks.length, "task")}`;
    const cost = row.cost <= SINGLE ? "for the cost of a single run" : `at ${short(row.cost, 2)} × the cost of a single run`;
    const best = `${row.method} has the best score ${cost}`;
    if (row.method === BOARD.against || !row.difference) return best;
    const verdict = row.verdict === "better" ? "is better than" : row.verdict === "worse" ? "is worse than" : "is not clearly different from";
    return `${best}, and ${verdict} ${BOARD.against}`;
  }
  // Best score first; scores on other tasks cannot be compared, so of an unfinished experiment only what is on most tasks.
  function comparable() {
    const overall = (method) => BOARD.rows.find((one) => one.updates === null && one.method === method) || BOARD.rows.find((one) => one.method === method);
    const rows = BOARD.methods.map(overall).filter(Boolean);
    const most = Math.max(...rows.map((row) => row.tasks));
    return rows.filter((row) => row.tasks === most);
  }
  // What more compute buys is no finding about a method: the best is sought among what costs a single run, if there is such.
  function headlined() {
    const rows = comparable();
    return rows.find((row) => known(row.cost) && row.cost <= SINGLE) || rows[0];
  }
  function dearer() {
    if (!BOARD) return null;
    const row = headlined(), [first] = comparable();
    if (!first || first.method === row.method) return null;
    return tag("p", { class: "lead", text: `${first.method} scores ${short(Math.abs(row.score.value - first.score.value), 2)} lower still, at ${short(first.cost, 2)} × the cost.` });
  }

  function controls() {
    const page = document.getElementById("page");
    const tabs = tag("div", { class: "tabs", role: "group", "aria-label": "Budget, in updates" });
    const choices = BOARD.budgets.length > 1 ? [null, ...BOARD.budgets] : BOARD.budgets;
    state.budget = choices[0];
    for (const choice of choices) {
      tabs.append(tag("button", { type: "button", "data-budget": String(choice), "aria-pressed": String(choice === state.budget), text: choice === null ? "all" : whole(choice),
        click: () => {
          state.budget = choice;
          for (const one of tabs.children) one.setAttribute("aria-pressed", String(one.dataset.budget === String(choice)));
          redraw();
        } }));
    }
    const box = tag("div", { class: "controls", role: "search", "aria-label": "What is shown" },
      tag("div", { class: "line" }, tag("span", { class: "name", text: "Budget" }), tabs, tag("span", { class: "note", text: "updates" })),
      chooser("method", "Methods", BOARD.methods), chooser("task", "Tasks", BOARD.tasks));
    page.append(box);
  }
  function chooser(kind, title, names) {
    const chips = tag("div", { class: "chips", role: "group", "aria-label": title });
    for (const name of names) {
      chips.append(tag("button", { type: "button", class: "chip", "aria-pressed": "true", "data-name": name, ...(kind === "method" ? { ...emphasis(name), ...emphasisByFocus(name) } : {}),
        click: () => {
          if (!state.off[kind].delete(name)) state.off[kind].add(name);
          refresh();
        } }, kind === "method" ? key(name) : null, name));
    }
    const search = tag("input", { type: "search", placeholder: `Filter ${title.toLowerCase()}`, "aria-label": `Filter ${title.toLowerCase()}`, "data-filter": kind,
      input: () => { state.words[kind] = search.value; refresh(); } });
    const every = tag("button", { type: "button", text: "all", "aria-label": `all ${title.toLowerCase()}`, "data-all": kind, click: () => {
      search.value = state.words[kind] = "";
      state.off[kind].clear();
      refresh();
    } });
    const none = tag("button", { type: "button", text: "none", "aria-label": `none of the ${title.toLowerCase()}`, click: () => { for (const name of names) state.off[kind].add(name); refresh(); } });
    function refresh() {
      for (const chip of chips.children) {
        chip.setAttribute("aria-pressed", String(!state.off[kind].has(chip.dataset.name)));
        chip.classList.toggle("gone", !matches(kind, chip.dataset.name));
      }
      redraw();
    }
    return tag("div", { class: "line" }, tag("span", { class: "name", text: title }), search, every, none, chips);
  }

  // Rows of the table; where tasks are left out, means over those that stay, as the page knows no interval of them.
  function rows() {
    const visible = new Set(methods());
    if (allTasks()) return BOARD.rows.filter((row) => row.updates === (BOARD.budgets.length > 1 ? state.budget : row.updates) && (row.updates !== null || BOARD.budgets.length > 1) && visible.has(row.method));
    const kept = new Set(tasks());
    const cells = BOARD.by_task.filter((cell) => kept.has(cell.task) && visible.has(cell.method) && (state.budget === null || cell.updates === state.budget));
    return BOARD.methods.filter((one) => visible.has(one)).map((method) => {
      const own = cells.filter((cell) => cell.method === method);
      if (!own.length) return null;
      if (own.length === 1) return { ...own[0], tasks: 1, metric: { [own[0].metric_name]: own[0].metric }, regret: { value: own[0].regret } };
      const compared = own.filter((cell) => cell.difference);
      const names = [...new Set(own.map((cell) => cell.metric_name).filter(Boolean))];
      const worst = compared.reduce((found, cell) => (found === null || cell.difference.value > found.difference.value ? cell : found), null);
      return {
        method, tasks: new Set(own.map((cell) => cell.task)).size, score: { value: mean(own.map((cell) => cell.score.value)) },
        difference: compared.length ? { value: mean(compared.map((cell) => cell.difference.value)) } : null, verdict: null,
        counts: compared.length ? ["better", "worse"].map((verdict) => compared.filter((cell) => cell.verdict === verdict).length).concat(compared.length) : null,
        regret: { value: mean(own.map((cell) => cell.regret)) }, worst: worst && { task: worst.task, difference: worst.difference.value },
        metric: Object.fromEntries(names.map((name) => [name, mean(own.filter((cell) => cell.metric_name === name).map((cell) => cell.metric))])),
      };
    }).filter(Boolean);
  }
  const inWords = { better: "better", equal: "no clear difference", worse: "worse" };
  // Where the reference's largest or smallest budget was not enough to tell, the speed-up is a bound.
  function speed(up) {
    if (!up || !known(up.value)) return "–";
    const bound = up.at_least && up.at_most ? "≈ " : up.at_least ? "≥ " : up.at_most ? "≤ " : "";
    return `${bound}${short(up.value, 2)} ×`;
  }
  const censored = (up) => (up && up.censored ? `only a bound on ${up.censored} of ${up.tasks}` : "");
  // {id, title, value (to sort by), cell (children), words, best (which end), hint}
  function columns(list) {
    const metrics = [...new Set(BOARD.rows.flatMap((row) => Object.keys(row.metric || {})))];
    const held = (test) => list.some(test);
    return [
      { id: "method", title: "method", words: true, value: (row) => row.method },
      { id: "difference", title: `difference to ${BOARD.against}`, plot: true, value: (row) => row.difference?.value ?? (row.method === BOARD.against ? 0 : null), best: "low" },
      { id: "verdict", title: "verdict", words: true, wide: true, value: (row) => ["better", "equal", "worse"].indexOf(row.verdict) },
      { id: "score", title: "score", value: (row) => row.score.value, best: "low", text: (row) => fixed(row.score.value, 3), hint: (row) => between(row.score) },
      ...metrics.map((name) => ({ id: `metric-${name}`, title: name, value: (row) => row.metric?.[name] ?? null, best: LOWER.includes(name) ? "low" : "high", text: (row) => fixed(row.metric?.[name], 3) })),
      held((row) => known(row.cost)) && { id: "cost", title: "cost", value: (row) => row.cost, text: (row) => `${short(row.cost, row.cost < 10 ? 2 : 3)} ×`, hint: (row) => duration(row.seconds) },
      held((row) => row.probability) && { id: "probability", title: "P(better)", value: (row) => row.probability?.value ?? null, best: "high", text: (row) => fixed(row.probability?.value, 2), hint: (row) => row.probability && between(row.probability, 2) },
      { id: "regret", title: "regret", value: (row) => row.regret?.value ?? null, best: "low", text: (row) => fixed(row.regret?.value, 3), hint: (row) => between(row.regret) },
      held((row) => row.rank) && { id: "rank", title: "rank", value: (row) => row.rank?.value ?? null, best: "low", text: (row) => fixed(row.rank?.value, 1), hint: (row) => row.rank && between(row.rank, 1) },
      held((row) => row.speed_up) && { id: "speed", title: "speed-up", value: (row) => row.speed_up?.value ?? null, best: "high", text: (row) => speed(row.speed_up), hint: (row) => [row.speed_up && between(row.speed_up, 2), censored(row.speed_up)].filter(Boolean).join("; ") },
      held((row) => row.worst) && { id: "worst", title: "worst task", wide: true, value: (row) => row.worst?.difference ?? null, text: (row) => (row.worst ? `${shorten(row.worst.task, 124, 14)} ${signed(row.worst.difference, 2)}` : "–"), hint: (row) => row.worst?.task },
    ].filter(Boolean);
  }
  function interval(row, place, width) {
    const { hue } = look(row.method);
    const picture = draw("svg", { width, height: 24, role: "img", "aria-label": row.difference ? [`difference ${signed(row.difference.value, 3)}`, between(row.difference) && `95 % interval ${between(row.difference)}`].filter(Boolean).join(", ") : row.method === BOARD.against ? "the others are compared with this one" : "not compared" });
    for (const tick of place.shown) picture.append(draw("line", { class: tick === 0 ? "zero" : "grid", x1: place(tick), x2: place(tick), y1: 0, y2: 24 }));
    if (!row.difference || !known(row.difference.value)) {
      if (row.method === BOARD.against) picture.append(draw("rect", { class: `dye ${hue}`, x: place(0) - 4, y: 8, width: 8, height: 8, transform: `rotate(45 ${place(0)} 12)` }));
      return picture;
    }
    const { value, low, high } = row.difference;
    if (known(low) && known(high)) {
      const at = clamped(place);
      picture.append(draw("line", { class: `interval ink ${hue}`, x1: at(low), x2: at(high), y1: 12, y2: 12 }));
      // An arrow where the interval goes on beyond the axis.
      for (const [cut, end, way] of [[low < place.low, place.low, 1], [high > place.high, place.high, -1]]) {
        if (cut) picture.append(draw("path", { class: `beyond dye ${hue}`, d: `M${place(end) - 3 * way} 12l${7 * way} -4v8Z` }));
      }
    }
    // Hollow where the interval holds zero: no clear difference.
    picture.append(draw("circle", { class: row.verdict === "better" || row.verdict === "worse" ? `dye ${hue}` : `hollow ${hue}`, cx: place(value), cy: 12, r: 4.5 }));
    return picture;
  }
  function scoreboard() {
    const host = section("scoreboard", "Scoreboard");
    const note = tag("p", { class: "note" });
    const sorter = tag("select", { id: "sorter", change: () => sortBy(sorter.value) });
    // Where the head of the table has no room, so that its arrow cannot be seen.
    const way = tag("button", { type: "button", class: "way", click: () => sortBy(state.sort.column) });
    const details = tag("input", { type: "checkbox", id: "details", change: () => { state.details = details.checked; fillTable(); } });
    const box = tag("div", { class: "scroll", role: "region", "aria-labelledby": "scoreboard-title" });
    host.append(note, tag("div", { class: "bar" }, tag("span", { class: "sortby" }, tag("label", { for: "sorter", text: "Sort by" }), sorter, way),
      tag("label", { class: "check", for: "details" }, details, "intervals and details in the table")), box);
    function sortBy(id) {
      const own = columns(rows()).find((one) => one.id === id);
      state.sort = { column: id, down: state.sort.column === id ? !state.sort.down : own.best === "high" };
      fillTable();
    }
    const ordered = () => (state.sort.down ? "highest first" : "lowest first");
    function fillTable() {
      const list = rows();
      const shownColumns = columns(list);
      const by = shownColumns.find((one) => one.id === state.sort.column) || shownColumns[1];
      const sign = state.sort.down ? -1 : 1;
      const order = [...list].sort((a, b) => {
        const [one, two] = [by.value(a), by.value(b)];
        if (typeof one === "string") return sign * one.localeCompare(two, "en", { numeric: true });
        if (!known(one) || !known(two)) return known(two) - known(one); // what is unknown goes last
        return sign * (one - two);
      });
      sorter.replaceChildren(...shownColumns.map((one) => tag("option", { value: one.id, selected: one.id === by.id, text: one.title })));
      way.replaceChildren(tag("span", { "aria-hidden": "true", text: state.sort.down ? "↓ " : "↑ " }), ordered());
      way.setAttribute("aria-label", `${ordered()}; turn the order round`);
      const say = () => { note.textContent = (BOARD.budgets.length === 1 ? `At ${whole(BOARD.budgets[0])} updates` : state.budget === null ? "All budgets together" : `At ${whole(state.budget)} updates`)
        + (allTasks() ? ", all tasks." : tasks().length === 1 ? `, ${tasks()[0]} alone.` : `, means over ${tasks().length} of ${BOARD.tasks.length} tasks, without intervals.`)
        + ` Dots are differences to ${BOARD.against}, with 95 % intervals; a hollow one: the interval holds zero.${box.querySelector(".beyond") ? " An arrow: the interval goes on." : ""}`; };
      say();
      if (!list.length) { box.replaceChildren(tag("p", { class: "empty", text: "No method and task is chosen." })); return; }
      const narrow = matchMedia("(max-width: 1150px)").matches;
      const width = narrow ? Math.max(150, box.clientWidth - 62) : 168;
      const compared = list.map((row) => row.difference).filter(Boolean);
      const ends = roomy([0, ...compared.map((one) => one.value)], compared.flatMap((one) => [one.low, one.high]), 1);
      const pad = 0.06 * (ends[1] - ends[0] || 1);
      const place = scale(ends[0] - pad, ends[1] + pad, 6, width - 6, false);
      place.shown = place.ticks(4);
      const ruler = () => draw("svg", { width, height: 30, "aria-hidden": "true" },
        place.shown.map((tick) => draw("text", { class: "soft", x: place(tick), y: 27, "text-anchor": "middle", text: signed(tick, tick === 0 ? 0 : place.shown.some((one) => Math.abs(one * 10 - Math.round(one * 10)) > 1e-6) ? 2 : 1) })),
        draw("text", { class: "soft", x: Math.max(0, place(0) - 8 - textWidth("← better")), y: 10, text: "← better" }));
      const top = {};
      for (const column of shownColumns) if (column.best && column.text) { const ends = extent(list.map(column.value)); if (ends) top[column.id] = ends[column.best === "low" ? 0 : 1]; }
      // Roles are named, because on narrow screens the style makes blocks of rows and cells.
      const head = tag("tr", { role: "row" }, shownColumns.map((column) => {
        const sorted = column.id === by.id;
        const button = tag("button", { type: "button", "data-sort": column.id, click: () => { sortBy(column.id); box.querySelector(`[data-sort="${column.id}"]`)?.focus(); } }, column.title, sorted ? tag("span", { "aria-hidden": "true", text: state.sort.down ? " ↓" : " ↑" }) : null);
        return tag("th", { scope: "col", role: "columnheader", class: column.plot ? "plot" : column.words ? "words" : "", "aria-sort": sorted ? (state.sort.down ? "descending" : "ascending") : null }, button, column.plot ? tag("div", { class: "row" }, ruler(), tag("span", { class: "pad" })) : null);
      }));
      const body = order.map((row) => tag("tr", { role: "row", class: row.method === BOARD.methods[0] ? "best" : "", "data-row": row.method, ...emphasisOfRow(row.method) }, shownColumns.map((column) => {
        if (column.id === "method") return tag("td", { class: "name", role: "rowheader" }, tag("span", { class: "label" }, key(row.method), tag("span", { text: row.method })));
        if (column.plot) return tag("td", { class: "plot", role: "cell", title: row.difference ? between(row.difference) : null }, tag("div", { class: "row" }, interval(row, place, width), tag("span", { class: "figure", text: row.difference ? signed(row.difference.value, 3) : row.method === BOARD.against ? "0" : "–" })), state.details && row.difference && between(row.difference) ? tag("div", { class: "side", text: between(row.difference) }) : null);
        if (column.id === "verdict") {
          const text = row.counts ? `better ${row.counts[0]}, worse ${row.counts[1]} of ${row.counts[2]}` : row.method === BOARD.against ? "baseline" : row.verdict === "equal" ? "unclear" : row.verdict || "–";
          return tag("td", { class: `words wide ${row.verdict || "equal"}`, role: "cell", "data-label": "verdict" }, tag("span", { text }));
        }
        const value = column.value(row);
        const best = column.id in top && known(value) && value === top[column.id];
        const hint = column.hint ? column.hint(row) || null : null;
        return tag("td", { class: `${best ? "top" : ""} ${column.wide ? "wide" : ""}`, role: "cell", "data-label": column.title, "data-column": column.id, title: hint }, tag("span", {}, column.text(row), state.details && hint ? tag("span", { class: "side", text: hint }) : null));
      })));
      box.replaceChildren(narrow ? tag("div", { class: "row ruler" }, ruler(), tag("span", { class: "pad" })) : "", tag("table", { class: "board", role: "table", "aria-labelledby": "scoreboard-title" }, tag("thead", { role: "rowgroup" }, head), tag("tbody", { role: "rowgroup" }, body)));
      // The axis stands above the plots, whatever the width of the numbers beside them.
      const figure = Math.max(...[...box.querySelectorAll(".figure")].map((one) => one.offsetWidth));
      for (const one of box.querySelectorAll(".figure, .pad")) one.style.width = `${Math.ceil(figure)}px`;
      if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", 0); // for the arrow keys to move it
      else box.removeAttribute("tabindex");
      say();
    }
    redraws.push(fillTable);
  }
  // Rows of the table are not faded themselves: reading along a row should not make the others vanish.
  const emphasisOfRow = (method) => emphasis(method);

  function profiles() {
    const host = section("profiles", "How often close to the best known");
    host.append(tag("p", { class: "note", text: "Share of runs, over all tasks, whose regret is at most the value below. Higher is better; a line further left reaches the best known sooner." }));
    const box = chart(host);
    host.append(savers(box, () => "profiles"));
    redraws.push(() => {
      const own = BOARD.profiles.find((one) => one.updates === state.budget) || BOARD.profiles.find((one) => one.updates === budget()) || BOARD.profiles[0];
      const visible = own ? methods().filter((one) => own.methods[one]) : [];
      curves(box, {
        series: visible.map((method) => ({ method, x: own.thresholds, y: own.methods[method].share, low: own.methods[method].low, high: own.methods[method].high })),
        range: [0, 1], xTitle: "regret at most", yTitle: "share of runs", formatY: (value) => `${Math.round(100 * value)} %`, tellY: (value) => `${fixed(100 * value, 1)} %`, tellX: (value) => `regret at most ${short(value)}`,
        descending: true, label: "Performance profiles", height: box.clientWidth < NARROW ? 300 : 400,
      });
    });
  }

  function interpolate(points, k) {
    for (let index = 1; index < points.length; index++) {
      const [[k0, y0], [k1, y1]] = [points[index - 1], points[index]];
      if (k >= k0 && k <= k1) return y0 + ((Math.log(k) - Math.log(k0)) / (Math.log(k1) - Math.log(k0))) * (y1 - y0);
    }
    return null;
  }
  function trials() {
    if (!BOARD.trials.length) return;
    const host = section("trials", "How many trials a search needs");
    const note = tag("p", { class: "note" }), box = chart(host), list = tag("p", { class: "note" });
    host.append(note, box, list, savers(box, () => "trials"));
    redraws.push(() => {
      const own = BOARD.trials.filter((one) => one.updates === budget());
      if (!own.length) { note.textContent = ""; list.textContent = ""; box.replaceChildren(tag("p", { class: "empty", text: `No search has a pool of trials at ${atBudget()}.` })); return; }
      const [first] = own;
      note.textContent = `Expected test score of the best of k trials of ${own.map((one) => `${one.pool} search (${plural(one.size, "trial")})`).join(" and ")}, chosen by validation score, at ${atBudget()}, over ${plural(first.tasks.length, "task")}. Level lines are methods that train a single network; a circle marks how many trials are worth one.`;
      const visible = new Set(methods());
      const kept = new Set(first.tasks);
      const single = new Set(BOARD.rows.filter((row) => row.updates === budget() && row.cost <= SINGLE).map((row) => row.method));
      const levels = Object.entries(first.to_match).filter(([method]) => visible.has(method) && single.has(method)).map(([method, match]) => {
        const bounded = match.at_least || match.at_most;
        const exact = known(match.value) && !bounded ? interpolate(first.expected, match.value) : null;
        const level = match.score ?? exact ?? mean(BOARD.by_task.filter((cell) => cell.method === method && cell.updates === budget() && kept.has(cell.task)).map((cell) => cell.score.value));
        const worth = match.at_least ? `> ${whole(first.size)}` : match.at_most ? "< 1" : short(match.value, 2);
        return { method, y: level, x: known(match.value) && !bounded ? Math.max(1, match.value) : null, text: `${method}: ${worth}`, worth };
      }).filter((one) => known(one.y));
      const pools = own.map((one, number) => ({ method: poolMethod(one.pool), label: `${one.pool}, best of k`, dots: true, x: one.expected.map(([k]) => k), y: one.expected.map(([, value]) => value) }));
      curves(box, {
        series: pools, levels: box.clientWidth < NARROW ? levels.map((one) => ({ ...one, text: one.method })) : levels, logarithmic: true, xTitle: "k, trials of the search", yTitle: "expected test score (lower is better)", xTicks: first.expected.map(([k]) => k),
        formatX: (value) => whole(Math.round(value)), tellX: (value) => `best of ${whole(Math.round(value))}`, tellY: (value) => fixed(value, 3), label: "Expected best of k trials", height: box.clientWidth < NARROW ? 300 : 380,
      });
      list.textContent = box.clientWidth < NARROW ? `Worth in trials: ${levels.map((one) => `${one.method} ${one.worth}`).join(" · ")}.` : "";
    });
  }
  const poolMethod = (pool) => BOARD.methods.find((one) => one === pool || one.startsWith(`${pool}:`)) || BOARD.against;

  function anytime() {
    if (!BOARD.anytime.length) return;
    const host = section("anytime", "Progress while the budget is spent");
    const note = tag("p", { class: "note" });
    const toggle = tag("input", { type: "checkbox", id: "logarithmic", change: () => { state.logarithmic = toggle.checked; redraw(); } });
    const far = extent(BOARD.anytime.flatMap((one) => one.spent.slice(-1)));
    state.logarithmic = toggle.checked = Boolean(far && far[1] > 2);
    const keys = tag("div", { class: "legend" });
    host.append(note, tag("div", { class: "bar" }, tag("label", { class: "check", for: "logarithmic" }, toggle, "logarithmic axis")), keys);
    const grid = tag("div", { class: "multiples" });
    host.append(grid);
    redraws.push(() => {
      note.textContent = `Best validation score so far against compute, in budgets of a single run, at ${atBudget()}. Lower is better; bands are 95 % intervals over seeds.`;
      const visible = methods();
      keys.replaceChildren(...visible.map((method) => tag("span", { ...emphasis(method) }, key(method), method)));
      grid.replaceChildren();
      for (const task of tasks()) {
        const own = BOARD.anytime.filter((one) => one.task === task && one.updates === budget() && visible.includes(one.method));
        if (!own.length) continue;
        const picture = tag("div", { class: "chart" });
        const cell = tag("div", {}, tag("div", { class: "title" }, tag("h3", { text: task }), savers(picture, () => `progress on ${task}`, visible.length > 6 ? keys : null)), picture);
        grid.append(cell);
        const series = BOARD.methods.map((method) => own.find((one) => one.method === method)).filter(Boolean).map((one) => {
          const from = state.logarithmic ? one.spent.findIndex((value) => value > 0) : 0;
          const cut = (values) => (values && values.length ? values.slice(from) : null);
          return { method: one.method, x: cut(one.spent), y: cut(one.score), low: cut(one.low), high: cut(one.high), step: true };
        });
        curves(picture, {
          series, logarithmic: state.logarithmic, labels: visible.length <= 6, xTitle: "budgets of a single run", yTitle: "validation score", height: 240,
          formatX: (value) => short(value, 2), tellX: (value) => `${task}, ${short(value, 3)} budgets`, tellY: (value) => fixed(value, 3), label: `Progress on ${task}`,
        });
      }
      if (!grid.children.length) grid.append(tag("p", { class: "empty", text: "Nothing to draw for what is chosen." }));
    });
  }

  function byTask() {
    const host = section("by-task", "Task by task");
    const note = tag("p", { class: "note" }), box = chart(host);
    host.insertBefore(note, box);
    const bar = tag("div", { class: "scale" });
    host.append(bar, savers(box, () => "task by task"));
    redraws.push(() => {
      note.textContent = `Difference in score to ${BOARD.against}, at ${atBudget()}. Bold, or a dot: the 95 % interval excludes zero.`;
      const visible = methods().filter((one) => one !== BOARD.against), kept = tasks();
      const cells = new Map(BOARD.by_task.filter((cell) => cell.updates === budget()).map((cell) => [`${cell.method}\n${cell.task}`, cell]));
      box.replaceChildren();
      bar.replaceChildren();
      if (!visible.length || !kept.length) { box.append(tag("p", { class: "empty", text: "Nothing to draw for what is chosen." })); return; }
      const width = Math.max(240, Math.floor(box.clientWidth)), size = width < 420 ? 11 : 12, small = width < 420 ? 10 : 12;
      // The fewer of the two go across, for the cells to be wide.
      const tasksAcross = kept.length <= visible.length || width >= NARROW && kept.length <= 14;
      const across = tasksAcross ? kept : visible, down = tasksAcross ? visible : kept;
      const left = Math.min(width * 0.36, Math.max(...down.map((one) => textWidth(one, size))) + 12 + (tasksAcross ? 24 : 0));
      const step = Math.min(110, (width - left) / across.length), tall = 28;
      const slanted = across.some((one) => textWidth(one, size) > step - 6);
      const longest = Math.min(130, Math.max(...across.map((one) => textWidth(one, size))));
      const top = slanted ? longest * 0.71 + 20 : 24;
      const over = slanted ? Math.max(0, left + (across.length - 0.5) * step + longest * 0.71 + 6 - width) : 0;
      const wide = Math.max(6, step - over / across.length);
      const height = top + down.length * tall;
      const clearly = (method, verdict) => kept.filter((task) => cells.get(`${method}\n${task}`)?.verdict === verdict).length;
      const told = visible.map((method) => `${method} is better on ${clearly(method, "better")} and worse on ${clearly(method, "worse")}`).join(", ");
      const picture = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, ...KEYED, "aria-label": `Differences to ${BOARD.against} on ${plural(kept.length, "task")}: ${told}. Arrow keys tell the cells.`, tabindex: 0 });
      const sizes = [...cells.values()].filter((cell) => cell.difference).map((cell) => Math.abs(cell.difference.value)).sort((a, b) => a - b);
      const strongest = sizes.length ? sizes[Math.floor(0.95 * (sizes.length - 1))] || 1e-9 : 1;
      across.forEach((name, column) => {
        const place = left + (column + 0.5) * wide;
        const text = shorten(name, 130, size);
        picture.append(draw("text", slanted ? { x: 0, y: 0, transform: `translate(${place - 3} ${top - 8}) rotate(-45)`, text } : { x: place, y: top - 9, "text-anchor": "middle", text }, draw("title", { text: name })));
      });
      down.forEach((name, line) => {
        const y = top + (line + 0.5) * tall;
        if (tasksAcross) {
          const { hue, dash } = look(name);
          picture.append(draw("line", { class: `line ink ${hue} ${dash}`, x1: 0, x2: 16, y1: y, y2: y }));
        }
        picture.append(draw("text", { x: tasksAcross ? 24 : 0, y: y + 4, text: shorten(name, left - 12 - (tasksAcross ? 24 : 0), size) }, draw("title", { text: name })));
      });
      const spots = [];
      down.forEach((one, line) => across.forEach((other, column) => {
        const [method, task] = tasksAcross ? [one, other] : [other, one];
        const cell = cells.get(`${method}\n${task}`);
        const value = cell?.difference?.value;
        const clear = cell && (cell.verdict === "better" || cell.verdict === "worse");
        const strength = known(value) ? Math.min(1, Math.abs(value) / strongest) : 1;
        const [x, y] = [left + column * wide, top + line * tall];
        picture.append(draw("rect", { class: `cell ${known(value) ? (value < 0 ? "good" : "bad") : "none"}`, "fill-opacity": known(value) ? (0.04 + 0.56 * strength).toFixed(3) : 1, x, y, width: wide, height: tall, rx: 4, "data-cell": `${method} ${task}` }));
        const text = known(value) ? signed(value, 2) : "";
        if (textWidth(text, small, 650) < wide - 2) picture.append(draw("text", { class: clear ? "strong" : "", "font-size": small, x: x + wide / 2, y: y + tall / 2 + 4, "text-anchor": "middle", "pointer-events": "none", text }));
        else if (clear) picture.append(draw("circle", { cx: x + wide / 2, cy: y + tall / 2, r: 2.5, class: "mark", "pointer-events": "none" }));
        spots.push({ method, task, cell, x: x + wide / 2, y: y + tall / 2 });
      }));
      const ring = draw("rect", { class: "ring", width: wide - 2, height: tall - 2, rx: 4, visibility: "hidden", "pointer-events": "none" });
      picture.append(ring);
      box.append(picture);
      browse(picture, spots.length, (event) => {
        const frame = picture.getBoundingClientRect();
        const column = Math.floor((event.clientX - frame.left - left) / wide), line = Math.floor((event.clientY - frame.top - top) / tall);
        return column >= 0 && column < across.length && line >= 0 && line < down.length ? line * across.length + column : null;
      }, (number, px, py) => {
        ring.setAttribute("visibility", number === null ? "hidden" : "visible");
        if (number === null) { hush(); return; }
        const { method, task, cell, x, y } = spots[number];
        ring.setAttribute("x", x - wide / 2 + 1);
        ring.setAttribute("y", y - tall / 2 + 1);
        const facts = cell ? [
          cell.difference && { name: "difference", value: `${signed(cell.difference.value, 3)}${between(cell.difference) ? ` (${between(cell.difference)})` : ""}` },
          { name: "score", value: `${fixed(cell.score.value, 3)}${between(cell.score) ? ` (${between(cell.score)})` : ""}` },
          cell.metric_name && { name: cell.metric_name, value: fixed(cell.metric, 3) },
          { name: "regret", value: fixed(cell.regret, 3) }, { name: "runs", value: whole(cell.runs) }].filter(Boolean) : [];
        tell(px, py, `${method}, ${task}`, facts, cell ? inWords[cell.verdict] : "no run");
      }, (number) => [spots[number].x + wide / 2, spots[number].y], across.length);
      const steps = [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1];
      bar.append(`better ${signed(-strongest, 2)}`, tag("span", { class: "ramp", "aria-hidden": "true" }, steps.map((one) => {
        const block = tag("i", { class: one < 0 ? "i-better" : "i-worse" });
        block.style.opacity = String(0.04 + 0.56 * Math.abs(one));
        return block;
      })), `${signed(strongest, 2)} worse`);
    });
  }

  function failures() {
    if (!DATA.failed.length) return;
    const host = section("failed", "What failed");
    const note = tag("p", { class: "note" }), box = tag("div", {});
    host.append(note, box);
    redraws.push(() => {
      // A task or method all of whose runs failed has no chip; then the words alone decide.
      const own = DATA.failed.filter((run) => shown("method", run.method) && shown("task", run.task) && (state.budget === null || run.updates === state.budget));
      note.textContent = `${plural(own.length, "run")} failed and ${own.length === 1 ? "counts" : "count"} in no figure above.`;
      box.replaceChildren(own.length ? tag("table", { class: "board", role: "table", "aria-labelledby": "failed-title" },
        tag("thead", { role: "rowgroup" }, tag("tr", { role: "row" }, ["run", "task", "seed", "updates", "reason"].map((name, place) => tag("th", { scope: "col", role: "columnheader", class: place === 2 || place === 3 ? "" : "words", text: name })))),
        tag("tbody", { role: "rowgroup" }, own.slice(0, 500).map((run) => tag("tr", { role: "row", "data-failed": run.key },
          tag("td", { class: "name", role: "rowheader", text: run.method }), tag("td", { class: "words", role: "cell", "data-label": "task" }, tag("span", { text: run.task })), tag("td", { role: "cell", "data-label": "seed" }, tag("span", { text: String(run.seed) })),
          tag("td", { role: "cell", "data-label": "updates" }, tag("span", { text: whole(run.updates) })), tag("td", { class: "words wide reason", role: "cell", text: run.reason || "no reason is known" }))))) : "");
      if (own.length > 500) box.append(tag("p", { class: "note", text: `and ${whole(own.length - 500)} more` }));
    });
  }

  // ---- one run --------------------------------------------------------------------------------

  const KINDS = [["diverged", "divergence", "divergences"], ["restored", "return to the best", "returns to the best"], ["grew", "growth", "growths"], ["shrank", "shrinking", "shrinkings"], ["copied", "copy of another trial", "copies of other trials"]];
  const KNOB_OF = { restored: "restore", grew: "growth", shrank: "shrink" };
  function happened(run, kind, number) {
    if (kind === "diverged") return Boolean(run.diverged[number]);
    if (kind === "copied") return copiesBefore(run, number).some((one) => one.trial === run.trial);
    const knob = KNOB_OF[kind];
    return run.actions[knob] !== undefined && run.actions[knob][number] !== "hold";
  }
  // In a population: what was copied right before a decision.
  const copiesBefore = (run, number) => (run.copies || []).filter((one) => one.at === number);
  function roundInWords(run, number) {
    const made = copiesBefore(run, number);
    return `${plural(made.length, "copy", "copies")} before decision ${number + 1}: ${made.map((one) => `trial ${one.trial} takes from ${one.copied}`).join(", ")}`;
  }
  const same = (a, b) => (typeof a === "number" && typeof b === "number" ? Math.abs(a - b) < 1e-6 : a === b);
  function chosenLevel(run, knob, number) {
    const table = DATA.knobs[knob], value = run.actions[knob]?.[number];
    return table && value !== undefined ? table.levels.findIndex((level) => same(level, value)) : -1;
  }
  const inOrder = (byKnob) => [...Object.keys(DATA.knobs), ...Object.keys(byKnob)].filter((knob, place, all) => knob in byKnob && all.indexOf(knob) === place);
  function deeds(run, number) {
    const parts = inOrder(run.actions).map((knob) => {
      const level = chosenLevel(run, knob, number), table = DATA.knobs[knob];
      if (!table || level < 0 || level === table.hold) return null;
      if (knob === "growth" || knob === "shrink") return table.labels[level];
      if (knob === "restore") return "back to the best weights";
      return `${table.title} ${table.labels[level]}`;
    }).filter(Boolean);
    for (const one of copiesBefore(run, number)) if (one.trial === run.trial) parts.unshift(`goes on from the weights of trial ${one.copied}`);
    if (run.diverged[number]) parts.push("diverged, so back to the best");
    return parts.length ? parts.join(", ") : "nothing changed";
  }
  function bestSoFar(run) {
    let best = null;
    return run.valid_loss.map((loss, number) => {
      if (run.improved[number] && known(loss) && (best === null || loss < best)) best = loss;
      return best;
    });
  }

  function panelsOf(run) {
    const moved = DATA.settings.filter(({ name }) => run.settings[name] && (name === "learning_rate" || new Set(run.settings[name]).size > 1));
    return { moved, still: DATA.settings.filter((one) => run.settings[one.name] && !moved.includes(one)), grows: run.rungs.length > 1 };
  }

  function pictureInWords(run, best) {
    const events = KINDS.map(([kind, one, many]) => [run.spent.filter((_, number) => happened(run, kind, number)).length, one, many]).filter(([count]) => count).map((all) => plural(...all));
    const rates = run.settings.learning_rate;
    return `Timeline of ${run.method} on ${run.task}, ${plural(run.spent.length, "decision")}: validation loss from ${short(run.valid_loss[0])} to ${short(run.valid_loss.findLast(known))}, at best ${short(best[best.length - 1])}; `
      + `learning rate from ${short(rates[0])} to ${short(rates[rates.length - 1])}${events.length ? `; ${events.join(", ")}` : ""}. Arrow keys step through the decisions.`;
  }

  function timeline(host, detail, run) {
    const width = Math.max(220, Math.floor(host.clientWidth));
    const size = width < 420 ? 11 : 12;
    const { moved, grows } = panelsOf(run);
    const count = run.spent.length, edges = [0, ...run.spent];
    const best = bestSoFar(run);
    const left = 52, right = width < 480 ? 58 : 88, gap = 30;
    const heights = [width < 480 ? 190 : 240, ...moved.map((one) => (one.name === "learning_rate" ? 110 : 66)), ...(grows ? [58] : []), ...(run.copies?.length ? [18 * run.trials] : [])];
    const height = heights.reduce((sum, one) => sum + one + gap, 0) + 30;
    const x = scale(0, Math.max(1, edges[count]), left, width - right, false), end = width - right;
    const picture = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, ...KEYED, "aria-label": pictureInWords(run, best) });
    const slice = draw("rect", { class: "slice", y: 14, height: height - 44 });
    picture.append(slice);
    let top = 20;
    const markers = [];
    function frame(tall, title, y, ticks, format) {
      picture.append(draw("text", { class: "soft", x: 0, y: top - 7, text: title }));
      for (const tick of ticks) {
        picture.append(draw("line", { class: "grid", x1: left, x2: end, y1: y(tick), y2: y(tick) }),
          draw("text", { class: "soft", x: left - 7, y: y(tick) + 4, "text-anchor": "end", text: format(tick) }));
      }
      picture.append(draw("line", { class: "axis", x1: left, x2: end, y1: top + tall, y2: top + tall }));
      for (const edge of edges.slice(0, -1)) picture.append(draw("line", { class: "tick", x1: x(edge), x2: x(edge), y1: top + tall - 4, y2: top + tall }));
      events(tall);
    }
    function events(tall) {
      for (const [kind] of KINDS) for (let number = 0; number < count; number++) {
        if (!happened(run, kind, number)) continue;
        // A divergence is known at the end of its slice, an edit is made at the beginning.
        const place = x(edges[number + (kind === "diverged" ? 1 : 0)]);
        picture.append(draw("line", { class: `event ${kind}`, x1: place, x2: place, y1: top, y2: top + tall }));
      }
    }
    function ends(list, y, tall) {
      const kept = list.filter((one) => known(one.value));
      const places = spread(kept.map((one) => y(Math.min(y.high, Math.max(y.low, one.value)))), size + 3, top + 4, top + tall + 4);
      kept.forEach((one, number) => picture.append(draw("circle", { cx: end + 7, cy: places[number], r: 3, fill: `var(--${one.colour})` }),
        draw("text", { x: end + 14, y: places[number] + 4, text: width < 480 ? short(one.value, 2) : `${one.name ? one.name + " " : ""}${short(one.value)}` })));
    }
    const clamp = (y, value) => y(Math.min(y.high, Math.max(y.low, value)));

    // Losses: a run that diverges should not squeeze all else into a line.
    const tiny = 1e-12;
    const positive = [...run.train_loss, ...run.valid_loss].filter(known).map((one) => Math.max(one, tiny));
    const early = [...positive.slice(0, Math.max(3, positive.length >> 3))].sort((a, b) => a - b);
    const ends0 = extent(positive) || [0.1, 1];
    const high = Math.max(Math.min(ends0[1], 8 * early[early.length >> 1] || 1), ends0[0] * 1.5);
    const loss = scale(ends0[0] / 1.2, high * 1.2, top + heights[0], top, true);
    frame(heights[0], "loss", loss, loss.ticks(5), (value) => short(value));
    const middles = run.spent.map((share, number) => (share + edges[number]) / 2);
    const lines = [["train", run.train_loss, middles, "train"], ["validation", run.valid_loss, run.spent, "valid"]];
    for (const [name, values, places, colour] of lines) {
      const points = values.map((value, number) => (known(value) ? [x(places[number]), clamp(loss, Math.max(value, tiny))] : null)).filter(Boolean);
      picture.append(draw("path", { class: "line", "data-line": name, stroke: `var(--${colour})`, d: path(points) }));
      if (name === "validation") for (const [a, b] of points) picture.append(draw("circle", { "data-line": "validation", cx: a, cy: b, r: count > 60 ? 1.6 : 2.4, fill: `var(--${colour})` }));
    }
    const bestPoints = best.map((value, number) => (known(value) ? [x(run.spent[number]), clamp(loss, Math.max(value, tiny))] : null)).filter(Boolean);
    picture.append(draw("path", { class: "line d2", "data-line": "best", stroke: "var(--best)", "stroke-width": 1.2, d: path(stairs(bestPoints)) }));
    const selected = run.improved.lastIndexOf(1);
    if (selected >= 0 && known(run.valid_loss[selected])) picture.append(draw("circle", { class: "ring", cx: x(run.spent[selected]), cy: clamp(loss, Math.max(run.valid_loss[selected], tiny)), r: 6 }));
    ends([{ name: "train", value: run.train_loss.findLast(known), colour: "train" }, { name: "valid", value: run.valid_loss.findLast(known), colour: "valid" }, { name: "best", value: best[count - 1], colour: "best" }], loss, heights[0]);
    markers.push(...lines.map(([, values, places, colour]) => ({ colour, at: (number) => (known(values[number]) ? [x(places[number]), clamp(loss, Math.max(values[number], tiny))] : null) })));
    top += heights[0] + gap;

    moved.forEach((one, place) => {
      const tall = heights[1 + place], values = run.settings[one.name];
      let [low, above] = extent(values);
      if (one.logarithmic && low > 0) {
        const room = Math.max((above / low) ** 0.12, low === above ? 2 : 1.1);
        [low, above] = [low / room, above * room];
      } else {
        const room = Math.max(0.15 * (above - low), 0.01);
        [low, above] = [low - room, above + room];
      }
      const y = scale(low, above, top + tall, top, one.logarithmic && low > 0);
      frame(tall, one.title, y, y.ticks(tall > 90 ? 4 : 2), (value) => short(value));
      const points = values.flatMap((value, number) => [[x(edges[number]), y(value)], [x(edges[number + 1]), y(value)]]);
      picture.append(draw("path", { class: "line", "data-line": one.name, stroke: `var(--${one.colour})`, d: path(points) }));
      const changes = values.map((_, number) => number).filter((number) => number && values[number] !== values[number - 1]);
      if (changes.length < count - 1) for (const number of changes) picture.append(draw("circle", { cx: x(edges[number]), cy: y(values[number]), r: 2.8, fill: `var(--${one.colour})` }));
      ends([{ name: "", value: values[count - 1], colour: one.colour }], y, tall);
      markers.push({ colour: one.colour, at: (number) => [(x(edges[number]) + x(edges[number + 1])) / 2, y(values[number])] });
      top += tall + gap;
    });
    if (grows) {
      const tall = heights[1 + moved.length];
      picture.append(draw("text", { class: "soft", x: 0, y: top - 7, text: "network" }));
      events(tall);
      ["layers", "width"].forEach((name, row) => {
        const sizes = run.rung.map((index) => Number(run.rungs[index].split("x")[1 - row]));
        const levels = [...new Set(sizes)].sort((a, b) => a - b);
        const y = top + row * 29;
        picture.append(draw("text", { class: "soft", x: left - 7, y: y + 18, "text-anchor": "end", text: name }));
        for (let start = 0, number = 1; number <= count; number++) {
          if (number < count && sizes[number] === sizes[start]) continue;
          const [a, b] = [x(edges[start]), x(edges[number])];
          picture.append(draw("rect", { class: "segment", "data-segment": name, "fill-opacity": 0.14 + 0.16 * Math.min(3, levels.indexOf(sizes[start])), x: a, y, width: b - a, height: 27, rx: 3 }));
          if (b - a > textWidth(String(sizes[start]), size) + 6) picture.append(draw("text", { x: (a + b) / 2, y: y + 18, "text-anchor": "middle", class: "halo", text: String(sizes[start]) }));
          start = number;
        }
      });
      top += tall + gap;
    }
    if (run.copies?.length) {
      const tall = heights[heights.length - 1], line = (trial) => top + 18 * trial + 9;
      picture.append(draw("text", { class: "soft", x: 0, y: top - 7, text: "who copied whom: trials of the population" }));
      for (let trial = 0; trial < run.trials; trial++) {
        picture.append(draw("text", { class: trial === run.trial ? "strong" : "soft", x: left - 7, y: line(trial) + 4, "text-anchor": "end", text: String(trial) }),
          draw("line", { class: trial === run.trial ? "lane own" : "lane", x1: left, x2: x(edges[count]), y1: line(trial), y2: line(trial) }));
      }
      // Arrows of one round stand side by side where one would lie on another, in the middle of it.
      const rounds = [...new Set(run.copies.map((one) => one.at))].sort((a, b) => a - b), places = rounds.map((at) => x(edges[at]));
      // As far from the middle of a round as to those beside it, or to the ends, at the most.
      const around = [2 * left - places[0], ...places, 2 * x(edges[count]) - places[places.length - 1]];
      const room = 0.8 * Math.min(...around.slice(1).map((place, number) => place - around[number]));
      const step = Math.min(8, room / (1 + Math.max(...run.copies.map((one) => one.column)))), half = Math.max(1.5, Math.min(3.5, step / 2));
      rounds.forEach((at, number) => {
        const made = copiesBefore(run, at), last = Math.max(...made.map((one) => one.column)), words = roundInWords(run, at);
        picture.append(draw("g", { role: "img", "aria-label": words, "data-round": at }, draw("title", { text: words }), made.map((one) => {
          const place = places[number] + (one.column - last / 2) * step, from = line(one.copied), to = line(one.trial), way = 6 * Math.sign(to - from);
          return draw("path", { class: `copy ${one.trial === run.trial ? "own" : ""}`, "data-copy": `${at} ${one.trial} ${one.copied}`,
            d: `M${place - 1} ${from}a1 1 0 1 0 2 0a1 1 0 1 0-2 0M${place} ${from}V${to - way}m${-half} 0h${2 * half}l${-half} ${way}Z` });
        })));
      });
      top += tall + gap;
    }
    const bottom = top - gap;
    for (const share of width < 480 ? [0, 0.5, 1] : [0, 0.2, 0.4, 0.6, 0.8, 1]) picture.append(draw("text", { class: "soft", x: x(share), y: bottom + 18, "text-anchor": "middle", text: `${Math.round(share * 100)} %` }));
    picture.append(draw("text", { class: "soft", x: (left + end) / 2, y: bottom + 38, "text-anchor": "middle", text: "share of the budget spent" }));
    slice.setAttribute("height", bottom - 14);
    const dots = markers.map((marker) => { const dot = draw("circle", { class: "now", r: 4.2, fill: `var(--${marker.colour})`, stroke: "var(--paper)", "stroke-width": 1.5 }); picture.append(dot); return dot; });
    host.replaceChildren(picture);

    let current = 0;
    // The same buttons for all decisions: the focus stays on them.
    const step = (label, text, by) => tag("button", { type: "button", "aria-label": label, text, click: () => show(Math.max(0, Math.min(count - 1, current + by))) });
    const steps = tag("div", { class: "steps" }, step("previous decision", "←", -1), step("next decision", "→", 1));
    // What is short is said to those who cannot see it, at each step; what is long can be read.
    const parts = [tag("div", { role: "status" }), tag("div", {})];
    detail.replaceChildren(steps, ...parts);
    function show(number) {
      current = number;
      slice.setAttribute("x", x(edges[number]));
      slice.setAttribute("width", Math.max(1, x(edges[number + 1]) - x(edges[number])));
      markers.forEach((marker, place) => {
        const point = marker.at(number);
        dots[place].setAttribute("visibility", point ? "visible" : "hidden");
        if (point) { dots[place].setAttribute("cx", point[0]); dots[place].setAttribute("cy", point[1]); }
      });
      describe(parts, run, best, number);
    }
    const find = (event) => {
      const share = x.inverse(event.clientX - picture.getBoundingClientRect().left);
      if (share < -0.03 || share > edges[count] + 0.03) return null;
      const number = run.spent.findIndex((one) => share < one);
      return number < 0 ? count - 1 : number;
    };
    const follow = (event) => { const number = find(event); if (number !== null && number !== current) show(number); };
    picture.addEventListener("pointermove", follow);
    picture.addEventListener("pointerdown", follow);
    picture.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: count - 1, PageUp: current - 10, PageDown: current + 10 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(Math.max(0, Math.min(count - 1, moves[event.key])));
    });
    show(0);
  }

  function describe(parts, run, best, number) {
    const count = run.spent.length;
    const pair = (rows) => tag("table", {}, tag("tbody", {}, rows.map(([name, value]) => tag("tr", {}, tag("td", { class: "words soft", text: name }), tag("td", { "data-value": name, text: value })))));
    const results = [["train loss", short(run.train_loss[number])], ["valid loss", short(run.valid_loss[number])], ["best so far", short(best[number])]];
    if (run.valid_accuracy) results.push(["accuracy", known(run.valid_accuracy[number]) ? fixed(run.valid_accuracy[number], 3) : "–"]);
    results.push(["reward", signed(run.reward[number], 3)]);
    const settings = DATA.settings.filter(({ name }) => run.settings[name]).map(({ name, title }) => [title, short(run.settings[name][number])]);
    settings.push(["network", run.rungs[run.rung[number]]]);
    const [brief, rest] = parts;
    brief.replaceChildren(
      tag("h3", { text: `Decision ${number + 1} of ${count}` }),
      tag("div", { class: "note", text: `${percent(Number(run.spent[number].toFixed(3)))} of the budget, ${plural(run.updates[number], "update")}` }),
      tag("div", { class: "did", text: deeds(run, number) }));
    rest.replaceChildren(tag("div", { class: "pair" }, pair(results), pair(settings)), ...copying(run, number));
    if (run.probabilities) rest.append(tag("div", { class: "note", text: "What the policy gave each level; the chosen one is coloured" }), chances(run, number, rest.clientWidth));
  }
  // What went on between the trials of a population, right before a decision.
  function copying(run, number) {
    const list = copiesBefore(run, number);
    if (!list.length) return [];
    const title = (name) => DATA.settings.find((one) => one.name === name)?.title || name.replace(/_/g, " ");
    return [tag("div", { class: "note", text: `Right before it, ${plural(list.length, "copy", "copies")} in the population` }), tag("ul", { class: "copies" }, list.map((one) =>
      tag("li", { text: `trial ${one.trial}${one.trial === run.trial ? " (this one)" : ""} copied trial ${one.copied}, and went on with ${Object.entries(one.settings).map(([name, value]) => `${title(name)} ${short(value)}`).join(", ")}` })))];
  }
  function chances(run, number, width) {
    const knobs = inOrder(run.probabilities);
    const tall = 20, step = 48, title = (knob) => (knob === "momentum" ? "1 − momentum" : knob.replace(/_/g, " "));
    const left = Math.min(width / 2, 10 + Math.max(...knobs.map((knob) => textWidth(title(knob), 12))));
    // Of levels that the knobs of today have; -1 otherwise.
    const chosenOf = (knob) => (DATA.knobs[knob] && DATA.knobs[knob].labels.length === run.probabilities[knob][number].length ? chosenLevel(run, knob, number) : -1);
    const inWords = (knob) => {
      const level = chosenOf(knob);
      return `${title(knob)} ${level < 0 ? "not told" : `${DATA.knobs[knob].labels[level]} ${percent(run.probabilities[knob][number][level] / 1000)}`}`;
    };
    const picture = draw("svg", { width, height: knobs.length * step + 4, class: "chances", role: "img", "aria-label": `Probabilities of the levels that were chosen: ${knobs.map(inWords).join(", ")}` });
    knobs.forEach((knob, line) => {
      const shares = run.probabilities[knob][number], table = DATA.knobs[knob];
      const labels = table && table.labels.length === shares.length ? table.labels : shares.map((_, level) => String(level + 1));
      const chosen = chosenOf(knob);
      const top = line * step + 6, each = (width - left) / Math.max(5, shares.length);
      picture.append(draw("text", { class: "soft", x: 0, y: top + tall, text: title(knob) }));
      picture.append(draw("line", { class: "axis", x1: left, x2: left + each * shares.length, y1: top + tall, y2: top + tall }));
      shares.forEach((share, level) => {
        const high = Math.max(share > 0 ? 1 : 0, (share / 1000) * tall);
        picture.append(draw("rect", { class: `chance ${level === chosen ? "chosen" : ""}`, "data-knob": knob, "data-share": share, x: left + level * each + 1, y: top + tall - high, width: Math.max(1, each - 2), height: high },
          draw("title", { text: `${labels[level]}: ${percent(share / 1000)}` })));
        if (level === chosen || shares.length <= 5 && textWidth(labels[level], 10.5, 650) < each + 4) picture.append(draw("text", { class: level === chosen ? "strong" : "soft", x: left + (level + 0.5) * each, y: top + tall + 14, "text-anchor": "middle", "font-size": 10.5, text: labels[level] }));
      });
      if (chosen >= 0 && shares.length > 5) {
        // Many levels: name the ends where the chosen one leaves room.
        if (chosen > 2) picture.append(draw("text", { class: "soft", x: left, y: top + tall + 14, "font-size": 10.5, text: labels[0] }));
        if (chosen < shares.length - 3) picture.append(draw("text", { class: "soft", x: left + each * shares.length, y: top + tall + 14, "text-anchor": "end", "font-size": 10.5, text: labels[labels.length - 1] }));
      }
    });
    return picture;
  }
  function marks(run) {
    const line = (attributes) => draw("svg", { class: "key", width: 18, height: 12, "aria-hidden": "true" }, draw("line", { x1: 9, x2: 9, y1: 0, y2: 12, ...attributes }));
    const dash = (colour, dashed) => draw("svg", { class: "key", width: 18, height: 8, "aria-hidden": "true" }, draw("line", { class: `line ${dashed ? "d2" : ""}`, stroke: `var(--${colour})`, x1: 1, x2: 17, y1: 4, y2: 4 }));
    const items = [["training loss", dash("train")], ["validation loss", dash("valid")], ["best so far", dash("best", true)], ["decision", line({ class: "tick" })], ["selected model", draw("svg", { class: "key", width: 14, height: 14, "aria-hidden": "true" }, draw("circle", { class: "ring", cx: 7, cy: 7, r: 5 }))]];
    for (const [kind, one, many] of KINDS) {
      const count = run.spent.filter((_, number) => happened(run, kind, number)).length;
      if (count) items.push([count === 1 ? one : `${count} ${many}`, line({ class: `event ${kind}` })]);
    }
    return items.map(([text, picture]) => tag("span", {}, picture, text));
  }
  function unchanged(run) {
    const { still, grows } = panelsOf(run);
    const parts = still.map((one) => `${one.title} ${short(run.settings[one.name][0], 2)}`);
    if (!grows) parts.push(`network ${run.rungs[0]}`);
    return parts.length ? `Unchanged: ${parts.join(", ")}.` : "";
  }
  function timelines() {
    if (!DATA.timelines.length) return;
    const single = DATA.kind === "run";
    const named = (run) => `${run.method} on ${run.task}, ${whole(run.budget)} updates, seed ${run.seed}`;
    const host = section("timeline", single ? "Timeline" : "Timelines of runs");
    const selector = tag("select", { id: "run", change: () => { state.run = Number(selector.value); shows(); } });
    const title = tag("p", { class: "note" }), legend = tag("div", { class: "legend" });
    const picture = tag("div", { class: "chart" }), detail = tag("div", { class: "detail", role: "region", "aria-label": "Decision", tabindex: 0 });
    const rest = tag("p", { class: "note" });
    host.append(title);
    if (!single) host.append(tag("div", { class: "bar" }, tag("label", { for: "run", class: "note", text: "Run" }), selector));
    const frame = tag("div", { class: "run" }, tag("div", {}, legend, picture, rest, savers(picture, () => `timeline ${named(DATA.timelines[state.run])}`, legend, "timeline")), detail);
    host.append(frame);
    function shows() {
      const run = DATA.timelines[state.run];
      title.textContent = single ? "Point at the picture, or use the arrow keys, to see what was decided." :
        `${known(run.metric) && run.metric_name ? `${run.metric_name} ${fixed(run.metric, 3)} on ${run.where} data` : ""}${known(run.score) ? `, score ${fixed(run.score, 3)}` : ""}. Point at the picture, or use the arrow keys, to see what was decided.`;
      legend.replaceChildren(...marks(run));
      rest.textContent = unchanged(run);
      timeline(picture, detail, run);
    }
    redraws.push(() => {
      const own = DATA.timelines.map((run, number) => [run, number]).filter(([run]) => single || shown("method", run.method) && shown("task", run.task) && (state.budget === null || run.budget === state.budget));
      frame.hidden = !own.length;
      frame.style.display = own.length ? "" : "none";
      selector.replaceChildren(...own.map(([run, number]) => tag("option", { value: number, text: named(run) })));
      if (!own.length) { title.textContent = "No timeline is kept for what is chosen."; return; }
      if (!own.some(([, number]) => number === state.run)) state.run = own[0][1];
      selector.value = String(state.run);
      shows();
    });
  }

  // ---- the page of a run ----------------------------------------------------------------------

  function runPage() {
    const page = document.getElementById("page"), { summary } = DATA, [run] = DATA.timelines;
    page.append(tag("p", { class: "kicker", text: "rlagent tune" }), tag("h1", { text: `${summary.task}, ${summary.method}` }));
    if (known(run.metric)) page.append(tag("p", { class: "lead" }, `${run.metric_name} `, tag("b", { text: fixed(run.metric, 3) }), ` on ${run.where} data`));
    const facts = [["test loss", short(summary.test_loss)], ["validation loss", short(summary.valid_loss)], ["network", summary.rung], ["updates", `${whole(summary.updates)} of ${whole(summary.budget)}`],
      ["decisions", whole(summary.decisions)], ["compute", flops(summary.flops)], ["time", duration(summary.seconds)], ["divergences", whole(summary.diverged || 0)], ["status", summary.status], ["device", summary.device]];
    page.append(tag("dl", { class: "facts small" }, facts.filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => tag("div", {}, tag("dt", { text: name }), tag("dd", { text: String(value) })))));
    timelines();
  }
  function footer() {
    if (DATA.kind !== "store") return;
    const versions = Object.entries(DATA.facts.versions).map(([name, found]) => `${name} ${found.join(" and ")}`).join(" · ");
    document.getElementById("page").append(tag("footer", { text: versions }));
  }

  if (DATA.kind === "run") runPage();
  else {
    if (BOARD) assignLooks(BOARD.methods, BOARD.against);
    headline();
    if (BOARD) {
      controls();
      scoreboard();
      profiles();
      trials();
      anytime();
      byTask();
      timelines();
    }
    failures();
    footer();
  }
  redraw();
  let before = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== before) { before = innerWidth; redraw(); } });
})();
