# Installs vidsr for one user on Windows: .\install.ps1 [-Source WHEEL-OR-CHECKOUT] [-Extra directml|cpu|rtx]
# Without -Extra: directml, which drives the GPU of any vendor.
param(
    [string]$Source = (Resolve-Path "$PSScriptRoot\..\.."),
    [ValidateSet("directml", "cpu", "rtx")][string]$Extra = "directml",
    [string]$Target = "$env:LOCALAPPDATA\vidsr"
)
$ErrorActionPreference = "Stop"

if (-not (Test-Path $Source)) { Write-Error "$Source does not exist; name a wheel or a checkout of vidsr."; exit 2 }
if (-not (Get-Command py -ErrorAction SilentlyContinue)) { Write-Error "Install Python 3.11 or later first."; exit 1 }

py -3 -c "import sys; sys.exit(sys.version_info < (3, 11))"
if ($LASTEXITCODE -ne 0) { Write-Error "vidsr needs Python 3.11 or later."; exit 1 }
py -3 -m venv $Target
& "$Target\Scripts\python.exe" -m pip install --quiet --disable-pip-version-check "$Source[$Extra]"
if ($LASTEXITCODE -ne 0) { exit 1 }
& "$Target\Scripts\vidsr.exe" --version

$path = [Environment]::GetEnvironmentVariable("Path", "User")
if ($path -notlike "*$Target\Scripts*") {
    [Environment]::SetEnvironmentVariable("Path", "$path;$Target\Scripts", "User")
    Write-Output "vidsr is on the Path of new windows."
}
