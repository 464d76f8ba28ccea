"use strict";
// The page is whole without this. It adds two things: the page is read again when
// the coordinator says that something changed, and a button that copies a command.
(function () {
  var source = null, wanted = false, reading = false, timer = 0, last = 0;

  function say(text) {
    var place = document.getElementById("live");
    if (place) place.textContent = text;
  }

  // A details element is told by its section and its place in there: sections may
  // come in between, and those of files change their places.
  function each(main, f) {
    main.querySelectorAll("section").forEach(function (s) {
      s.querySelectorAll("details").forEach(function (d, i) { f(d, (s.dataset.file || s.getAttribute("aria-labelledby")) + " " + i); });
    });
  }

  // What a person has opened or focused stays as it was.
  function replace(now) {
    var main = document.getElementById("main");
    var next = now.getElementById("main");
    if (!main || !next) return;
    var open = {};
    each(main, function (d, key) { open[key] = d.open; });
    each(next, function (d, key) { if (open[key]) d.open = true; });
    var focused = main.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    var scrolled = Array.prototype.map.call(main.querySelectorAll(".scroll"), function (s) { return s.scrollLeft; });
    main.replaceWith(next);
    next.querySelectorAll(".scroll").forEach(function (s, i) { s.scrollLeft = scrolled[i] || 0; });
    if (focused) {
      var again = Array.prototype.find.call(next.querySelectorAll("a"), function (a) { return a.getAttribute("href") === focused; });
      if (again) again.focus({ preventScroll: true });
    }
    buttons();
    document.dispatchEvent(new CustomEvent("quorate:updated"));
  }

  function read() {
    if (reading) { wanted = true; return; }
    reading = true; wanted = false;
    fetch(location.href, { cache: "no-cache", headers: { Accept: "text/html" } })
      .then(function (r) { return r.ok ? r.text() : Promise.reject(r.status); })
      .then(function (text) {
        replace(new DOMParser().parseFromString(text, "text/html"));
        say("Updated " + new Date().toLocaleTimeString() + ".");
      })
      .catch(function () { say("Could not be updated; the next change tries again."); })
      .then(function () { reading = false; if (wanted) later(); });
  }

  // Many changes at once are one reading, and there is at most one a second.
  function later() {
    if (timer) return;
    timer = setTimeout(function () { timer = 0; last = Date.now(); read(); }, Math.max(100, last + 1000 - Date.now()));
  }

  function listen() {
    var main = document.getElementById("main");
    var path = main && main.getAttribute("data-live");
    if (!path || source || !window.EventSource) return;
    source = new EventSource(path);
    source.onopen = function () { say("Live."); document.dispatchEvent(new CustomEvent("quorate:live")); };
    source.onerror = function () { say("Not live: trying to reach the coordinator."); };
    ["verdict", "act", "alarm", "reset"].forEach(function (type) { source.addEventListener(type, later); });
  }

  function hush() { if (source) { source.close(); source = null; } }

  // A browser opens few connections to one server: what nobody looks at gives
  // its own back, and reads the page when it is looked at again.
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) { hush(); } else if (!source) { listen(); if (source) later(); }
  });
  // So does a page that is kept for the way back.
  window.addEventListener("pagehide", hush);
  window.addEventListener("pageshow", function (e) { if (e.persisted) { listen(); later(); } });

  function buttons() {
    if (!navigator.clipboard) return;
    document.querySelectorAll(".command").forEach(function (box) {
      if (box.querySelector("button")) return;
      var b = document.createElement("button");
      b.type = "button";
      b.textContent = "Copy";
      b.setAttribute("aria-label", "Copy: " + box.textContent);
      b.addEventListener("click", function () {
        navigator.clipboard.writeText(box.querySelector("code").textContent).then(function () { b.textContent = "Copied"; }, function () { b.textContent = "Select it by hand"; });
      });
      box.appendChild(b);
    });
  }

  buttons();
  if (!document.hidden) listen();
})();
