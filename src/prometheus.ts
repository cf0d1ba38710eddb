// The door of Prometheus: exposition text, a handler of scrapes, and collectors of prom-client.
// Thread: main.

export {
  type PrometheusFamily,
  type PrometheusLabels,
  type PrometheusRegistry,
  type PrometheusSample,
  prometheusFamilies,
  prometheusHandler,
  prometheusText,
  registerWith,
} from './operations/prometheus.ts'
