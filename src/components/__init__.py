"""What the learner's data pass through: episodes, replay, action selection, schedules."""
