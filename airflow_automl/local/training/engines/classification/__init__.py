"""What text and image classification share: labels, the logistic head, the course of a job, artefacts and reports."""
