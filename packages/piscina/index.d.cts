export * from 'corelane/piscina'
export { Piscina as default } from 'corelane/piscina'
