"""What a controller is compared with: schedules and searches."""
