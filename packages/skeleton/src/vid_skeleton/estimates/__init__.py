"""What pose estimators write, as the persons in the frames of videos: readers of their JSON files."""
