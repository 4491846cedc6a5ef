"use strict";

window.SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  persistAuthorization: false, // a token in the browser's storage outlives the page
  validatorUrl: null, // the default would ask another host
  tryItOutEnabled: true,
});
