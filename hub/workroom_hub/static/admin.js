// What JupyterHub's admin application expects to find on its page.
"use strict";

{
  const given = document.currentScript.dataset;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = () => {
    document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light";
  };
  paint();
  dark.addEventListener("change", paint);
  window.api_page_limit = Number.parseInt(given.pageLimit, 10);
  window.base_url = given.baseUrl;
  window.jhdata = {
    base_url: given.baseUrl,
    prefix: given.prefix,
    user: given.user,
    xsrf_token: given.xsrf,
    admin_access: true,
    options_form: true,
  };
}
