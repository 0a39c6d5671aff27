// Shows this server's own description; asks nobody else (no validator, no CDN).
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
