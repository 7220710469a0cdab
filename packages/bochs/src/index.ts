/**
 * The format of Bochs's growing images.
 * @module
 */
export { bochs } from './driver.ts'
