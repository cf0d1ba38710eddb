export { Worker, Worker as default } from 'corelane/jest-worker'
