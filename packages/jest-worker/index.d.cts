export * from 'corelane/jest-worker'
export { Worker as default } from 'corelane/jest-worker'
