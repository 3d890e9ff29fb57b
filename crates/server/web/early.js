// Before the first paint: the theme that was chosen here last, so that nothing flashes.
(() => {
  try {
    const theme = localStorage.getItem("ruminate.theme");
    if (theme === "light" || theme === "dark") {
      document.documentElement.dataset.theme = theme;
    }
  } catch {
    // A browser that keeps nothing shows what the system prefers.
  }
})();
