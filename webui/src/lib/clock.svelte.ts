/** The time, for texts that change by themselves. */

class Clock {
  now = $state(Date.now());
  /** As `performance.now()`. */
  tick = $state(performance.now());

  constructor() {
    setInterval(() => {
      this.now = Date.now();
      this.tick = performance.now();
    }, 1000);
  }
}

export const clock = new Clock();
