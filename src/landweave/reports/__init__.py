"""From a run folder to one page that a person reads, prints and sends on."""
